//! Knows until when everything that was submitted has been read: starts chases one after another, and keeps what one
//! has found until the sink has read so far.

use std::{future::pending, time::Duration};

use formline_core::{client, record::Partition};
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::kafka::{Chased, Upstream};

/// The chases of one session.
pub(crate) struct Following {
    sink: String,
    upstream: Upstream,
    grace: i64,
    chase: Option<BoxFuture<'static, Result<Chased, client::Error>>>,
    /// A chase that waits until the sink has read what it found.
    chased: Option<Chased>,
}

// === impl Following ===

impl Following {
    pub(crate) fn new(sink: &str, upstream: Upstream, grace: Duration) -> Self {
        Self {
            sink: sink.to_owned(),
            upstream,
            grace: i64::try_from(grace.as_micros()).unwrap_or(i64::MAX),
            chase: None,
            chased: None,
        }
    }

    /// Waits for a chase to end. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Result<Chased, client::Error> {
        let Some(chase) = &mut self.chase else {
            return pending().await;
        };
        let chased = chase.await;
        self.chase = None;
        chased
    }

    pub(crate) fn settle(&mut self, chased: Result<Chased, client::Error>) {
        match chased {
            Ok(chased) => self.chased = Some(chased),
            Err(error) => {
                tracing::debug!(%error, sink = self.sink, "how far the line has come is not known");
            }
        }
    }

    /// The time until which everything has come, in microseconds since 1970, once the sink has read what the last chase
    /// found. `next` says where a partition will be read next.
    pub(crate) fn complete_until(
        &mut self,
        assigned: &[Partition],
        next: impl Fn(&Partition) -> Option<i64>,
    ) -> Option<i64> {
        let is_read = |partition: &Partition, ends: &[(String, i32, i64)]| {
            let mut ends = ends.iter().filter(|(topic, number, _)| {
                *topic == *partition.topic && *number == partition.number
            });
            let end = ends.next().map_or(0, |(_, _, end)| *end);
            end == 0 || next(partition).is_some_and(|next| next >= end)
        };
        let chased = self.chased.take_if(|chased| {
            let mut assigned = assigned.iter();
            assigned.all(|partition| is_read(partition, &chased.ends))
        })?;
        Some(chased.time - self.grace)
    }

    /// Starts a chase if there is none and it can help a row that was submitted at `waiting`.
    pub(crate) fn chase_for(&mut self, waiting: Option<i64>) {
        let now = Timestamp::now().as_microsecond();
        let helps = waiting.is_some_and(|time| time.saturating_add(self.grace) <= now);
        if helps && self.chase.is_none() && self.chased.is_none() {
            self.chase = Some(Box::pin(self.upstream.clone().chase()));
        }
    }
}
