//! The connection of the moment: one for all who run scripts, made anew when it fails or the master changes.

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
    failure::Failure,
    metrics::Metrics,
    place::{Address, Place},
};

/// Makes connections, at most one at a time.
pub(super) struct Links {
    pub(super) place: Place,
    metrics: Metrics,
    generation: AtomicU64,
    current: Mutex<Option<Link>>,
    /// Held while connecting: who comes meanwhile waits for that connection.
    next: tokio::sync::Mutex<Next>,
}

/// A connection to a master. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) generation: u64,
    pub(super) connection: MultiplexedConnection,
    /// Told as soon as the connection is of no more use, for who waits for an answer.
    pub(super) closed: CancellationToken,
    address: Option<Address>,
}

/// When to connect next.
struct Next {
    backoff: Backoff,
    not_before: Instant,
    /// Why the last attempt failed.
    trouble: Option<Failure>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

// === impl Links ===

impl Links {
    pub(super) fn new(place: Place, metrics: Metrics) -> Self {
        Self {
            place,
            metrics,
            generation: AtomicU64::new(0),
            current: Mutex::new(None),
            next: tokio::sync::Mutex::new(Next {
                backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
                not_before: Instant::now(),
                trouble: None,
            }),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The connection of the moment, or a new one. Between attempts that failed there is a pause, in which nobody waits:
    /// the answer is the failure of the last one. Cancel safe.
    pub(super) async fn get(&self) -> Result<Link, Failure> {
        if let Some(link) = self.current().clone() {
            return Ok(link);
        }
        let mut next = self.next.lock().await;
        if let Some(link) = self.current().clone() {
            return Ok(link);
        }
        if let Some(trouble) = &next.trouble
            && Instant::now() < next.not_before
        {
            return Err(trouble.clone());
        }
        match self.place.master().await {
            Ok(found) => {
                next.backoff.reset();
                next.trouble = None;
                Ok(self.begin(found.connection, found.address))
            }
            Err(error) => {
                let failure = match Failure::of(&error) {
                    // Whatever keeps us out, a person or time can change it.
                    Failure::Refused(why) => Failure::Away(why),
                    failure => failure,
                };
                if next.trouble.is_none() {
                    tracing::warn!(error = %failure, "no connection to redis");
                }
                next.not_before = Instant::now() + next.backoff.delay();
                Err(next.trouble.insert(failure).clone())
            }
        }
    }

    fn begin(&self, connection: MultiplexedConnection, address: Option<Address>) -> Link {
        let link = Link {
            generation: self.generation.fetch_add(1, Ordering::AcqRel) + 1,
            connection,
            closed: CancellationToken::new(),
            address,
        };
        tracing::info!(generation = link.generation, master = ?link.address, "connected to redis");
        self.metrics.connected();
        *self.current() = Some(link.clone());
        link
    }

    /// A call on the connection of this generation has failed.
    pub(super) fn close(&self, generation: u64, why: &str) {
        self.close_if(why, |link| link.generation == generation);
    }

    /// A Sentinel says where the master is from now on.
    pub(super) fn moved(&self, to: &Address) {
        let is_elsewhere = |link: &Link| link.address.as_ref().is_some_and(|at| at != to);
        self.close_if("the master has changed", is_elsewhere);
    }

    fn close_if(&self, why: &str, is_meant: impl Fn(&Link) -> bool) {
        if let Some(link) = self.current().take_if(|link| is_meant(link)) {
            tracing::warn!(generation = link.generation, error = why, "left redis");
            self.metrics.disconnected();
            link.closed.cancel();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Link>> {
        self.current.lock().expect("nobody panics while holding it")
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
