//! Redis as a place that may forget: scripts on the master of the moment, whichever server that is.
//!
//! What holds a truth is elsewhere (the sheet, Kafka), so a fail-over that loses the newest writes is no harm as long as
//! it is noticed: each new connection raises the generation. Scripts must bear being run twice, since a call without an
//! answer may have run.

mod failure;
mod link;
mod metrics;
mod place;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use formline_core::{Shutdown, Telemetry, settings};
use redis::{FromRedisValue, ScriptInvocation, Value};

pub(crate) use self::failure::Failure;
use self::{link::Links, metrics::Metrics, place::Place};
use crate::Error;

/// The way to Redis, shared by all sinks of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    links: Arc<Links>,
}

// === impl Redis ===

impl Redis {
    /// Connects only when a script is run: Redis may be away.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub(crate) fn open(
        settings: &settings::Redis,
        shutdown: &Shutdown,
        telemetry: &Telemetry,
    ) -> Result<Self, Error> {
        let place = Place::new(settings).map_err(Error::RedisAddress)?;
        let links = Arc::new(Links::new(place, Metrics::register(telemetry)));
        watch::watch(&links, shutdown);
        Ok(Self { links })
    }

    /// Runs a script on the master. Comes back within some seconds, whatever happens.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Failure> {
        let mut link = self.links.get().await?;
        let closed = link.closed.clone();
        // The master has changed: its answer, if there will be one, is of no use.
        let answer = closed.run_until_cancelled(script.invoke_async(&mut link.connection));
        let failure = match answer.await {
            Some(Ok(value)) => return read(value),
            Some(Err(error)) => Failure::of(&error),
            None => Failure::Away("the master has changed".to_owned()),
        };
        if let Failure::Away(why) | Failure::Denied(why) = &failure {
            self.links.close(link.generation, why);
        }
        Err(failure)
    }

    /// How many connections there have been so far. If it has changed since a script ran, the server may be another one,
    /// which may lack the newest writes.
    pub(crate) fn generation(&self) -> u64 {
        self.links.generation()
    }
}

/// The crate's own error would show the value, in which there may be submissions.
fn read<T: FromRedisValue>(value: Value) -> Result<T, Failure> {
    T::from_redis_value(value)
        .map_err(|_| Failure::Refused("a script returned another type than expected".to_owned()))
}
