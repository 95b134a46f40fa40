//! The current connection, shared by all callers: it is replaced when it fails or the master
//! changes.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use formline_core::retry::Backoff;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    endpoint::{RedisEndpoint, ServerAddress},
    error::ScriptError,
    metrics::RedisMetrics,
};

/// Makes connections, at most one at a time.
pub(super) struct SharedConnection {
    pub(super) endpoint: RedisEndpoint,
    metrics: RedisMetrics,
    generation: AtomicU64,
    current: Mutex<Option<RedisConnection>>,
    /// Held while connecting, so that callers that arrive meanwhile wait for the same connection.
    next: tokio::sync::Mutex<ConnectSchedule>,
}

/// A connection to a master. Cheap to clone.
#[derive(Clone)]
pub(super) struct RedisConnection {
    pub(super) generation: u64,
    pub(super) connection: MultiplexedConnection,
    /// Cancelled as soon as the connection is useless, for callers that wait for a response.
    pub(super) closed: CancellationToken,
    address: Option<ServerAddress>,
}

/// When to connect next.
struct ConnectSchedule {
    backoff: Backoff,
    not_before: Instant,
    /// Why the last attempt failed.
    last_error: Option<ScriptError>,
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(2);

// === impl SharedConnection ===

impl SharedConnection {
    pub(super) fn new(endpoint: RedisEndpoint, metrics: RedisMetrics) -> Self {
        Self {
            endpoint,
            metrics,
            generation: AtomicU64::new(0),
            current: Mutex::new(None),
            next: tokio::sync::Mutex::new(ConnectSchedule {
                backoff: Backoff::new(FIRST_DELAY, MAX_DELAY),
                not_before: Instant::now(),
                last_error: None,
            }),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The current connection, or a new one. During the delay after a failed attempt, callers do
    /// not wait but receive the error of that attempt. Cancel safe.
    pub(super) async fn get(&self) -> Result<RedisConnection, ScriptError> {
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        let mut next = self.next.lock().await;
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        if let Some(last_error) = &next.last_error
            && Instant::now() < next.not_before
        {
            return Err(last_error.clone());
        }
        match self.endpoint.master().await {
            Ok(master) => {
                next.backoff.reset();
                next.last_error = None;
                Ok(self.connected(master.connection, master.address))
            }
            Err(error) => {
                let error = match ScriptError::of(&error) {
                    // Time or an operator can change whatever prevents the connection.
                    ScriptError::Rejected(why) => ScriptError::Unavailable(why),
                    error => error,
                };
                if next.last_error.is_none() {
                    tracing::warn!(%error, "cannot connect to redis; retrying");
                }
                next.not_before = Instant::now() + next.backoff.delay();
                Err(next.last_error.insert(error).clone())
            }
        }
    }

    fn connected(
        &self,
        connection: MultiplexedConnection,
        address: Option<ServerAddress>,
    ) -> RedisConnection {
        let connection = RedisConnection {
            generation: self.generation.fetch_add(1, Ordering::AcqRel) + 1,
            connection,
            closed: CancellationToken::new(),
            address,
        };
        tracing::info!(generation = connection.generation, master = ?connection.address, "connected to redis");
        self.metrics.connected();
        *self.current() = Some(connection.clone());
        connection
    }

    /// Drops the connection of this generation, because a call on it has failed.
    pub(super) fn close(&self, generation: u64, why: &str) {
        self.close_if(why, |connection| connection.generation == generation);
    }

    /// Drops the connection if a Sentinel reports the master at another address.
    pub(super) fn moved(&self, to: &ServerAddress) {
        let has_moved =
            |connection: &RedisConnection| connection.address.as_ref().is_some_and(|at| at != to);
        self.close_if("the master has changed", has_moved);
    }

    fn close_if(&self, why: &str, should_close: impl Fn(&RedisConnection) -> bool) {
        if let Some(connection) = self
            .current()
            .take_if(|connection| should_close(connection))
        {
            tracing::warn!(
                generation = connection.generation,
                error = why,
                "disconnected from redis"
            );
            self.metrics.disconnected();
            connection.closed.cancel();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<RedisConnection>> {
        self.current
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
