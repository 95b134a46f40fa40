//! Follows the watermark of one session: takes one measurement after another, and holds each until
//! the sink has read as far as it says.

use std::time::Duration;

use formline_core::kafka::{client::ClientError, record::Partition};
use jiff::Timestamp;

use super::in_flight::InFlight;
use crate::sheets::watermark::{Watermark, WatermarkTracker};

/// The measurements of one session.
pub(crate) struct WatermarkFollower {
    sink: String,
    tracker: WatermarkTracker,
    /// How long accepting a submission may take, in microseconds.
    grace: i64,
    measurement: InFlight<Result<Watermark, ClientError>>,
    /// A watermark that holds once the sink has read up to its ends.
    unread: Option<Watermark>,
}

// === impl WatermarkFollower ===

impl WatermarkFollower {
    pub(crate) fn new(sink: &str, tracker: WatermarkTracker, grace: Duration) -> Self {
        Self {
            sink: sink.to_owned(),
            tracker,
            grace: i64::try_from(grace.as_micros()).unwrap_or(i64::MAX),
            measurement: InFlight::default(),
            unread: None,
        }
    }

    /// Waits for the measurement to end. Cancel safe.
    pub(crate) async fn measured(&mut self) {
        match self.measurement.ended().await {
            Ok(watermark) => self.unread = Some(watermark),
            Err(error) => {
                tracing::debug!(%error, sink = self.sink, "cannot measure the watermark");
            }
        }
    }

    /// The time up to which all submissions have been read, in microseconds since 1970, once the
    /// sink has read up to the ends of the last measurement. `next` is the next offset to read of a
    /// partition.
    pub(crate) fn reached(
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
        let watermark = self.unread.take_if(|watermark| {
            let mut assigned = assigned.iter();
            assigned.all(|partition| is_read(partition, &watermark.ends))
        })?;
        Some(watermark.time - self.grace)
    }

    /// Starts a measurement unless one is under way, or it could not help a row that was submitted
    /// at `waiting`.
    pub(crate) fn measure_for(&mut self, waiting: Option<i64>) {
        let now = Timestamp::now().as_microsecond();
        let helps = waiting.is_some_and(|time| time.saturating_add(self.grace) <= now);
        if helps && self.measurement.is_idle() && self.unread.is_none() {
            self.measurement.start(self.tracker.clone().measure());
        }
    }
}
