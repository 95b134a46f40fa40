//! Runs scripts on the current Redis master, whichever server that is. Redis may lose data at any
//! time.
//!
//! The truth is elsewhere (the sheet, Kafka), so a fail-over that loses the newest writes does no
//! harm if it is detected: each new connection increases the generation. Scripts must tolerate
//! being run twice, because a call without a response may have run.

mod connection;
mod endpoint;
mod error;
mod metrics;
mod sentinel;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use formline_core::{Shutdown, Telemetry, settings};
use redis::{FromRedisValue, ScriptInvocation, Value};

pub(crate) use self::error::ScriptError;
use self::{connection::SharedConnection, endpoint::RedisEndpoint, metrics::RedisMetrics};
use crate::error::Error;

/// Registers the metrics of the Redis client.
pub(crate) fn register_metrics(telemetry: &Telemetry) {
    RedisMetrics::register(telemetry);
}

/// The Redis client of all sinks of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    connection: Arc<SharedConnection>,
}

// === impl Redis ===

impl Redis {
    /// Does not connect until a script is run, because Redis may be unavailable.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub(crate) fn open(
        settings: &settings::Redis,
        shutdown: &Shutdown,
        telemetry: &Telemetry,
    ) -> Result<Self, Error> {
        let endpoint = RedisEndpoint::new(settings).map_err(Error::RedisAddress)?;
        let connection = Arc::new(SharedConnection::new(
            endpoint,
            RedisMetrics::register(telemetry),
        ));
        sentinel::watch(&connection, shutdown);
        Ok(Self { connection })
    }

    /// Runs a script on the master. Returns within seconds, whatever happens.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, ScriptError> {
        let mut current = self.connection.get().await?;
        let closed = current.closed.clone();
        // After the master has changed, the response of the old one is useless.
        let response = closed.run_until_cancelled(script.invoke_async(&mut current.connection));
        let error = match response.await {
            Some(Ok(value)) => return read(value),
            Some(Err(error)) => ScriptError::of(&error),
            None => ScriptError::Unavailable("the master has changed".to_owned()),
        };
        if let ScriptError::Unavailable(why) | ScriptError::Denied(why) = &error {
            self.connection.close(current.generation, why);
        }
        Err(error)
    }

    /// The number of connections so far. If it has changed since a script ran, the server may be
    /// another one that lacks the newest writes.
    pub(crate) fn generation(&self) -> u64 {
        self.connection.generation()
    }
}

/// The error of the crate would show the value, which may contain submissions.
fn read<T: FromRedisValue>(value: Value) -> Result<T, ScriptError> {
    T::from_redis_value(value)
        .map_err(|_| ScriptError::Rejected("a script returned an unexpected type".to_owned()))
}
