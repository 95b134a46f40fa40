//! What the sink asks Kafka besides its records: how far its consumer group is, and up to which
//! time all submissions have arrived (the watermark).
//!
//! Rows must be in order of submission, but the stages before the sink have several partitions,
//! threads and processes. The tracker takes the current time and the ends of the first topics. When
//! a consumer group has committed past the ends of its inputs, its outputs are in the next topics,
//! and the tracker takes the ends of those, up to the sink's own topics. When the sink has read
//! past the last ends, it has read every row of a submission that was in Kafka at that time. Unlike
//! a hold-back by record times alone, this also works when one partition is slow.

use std::{sync::Arc, time::Duration};

use formline_core::{
    App, Client,
    app::Sink,
    kafka::{
        client::ClientError,
        group_progress::{GroupProgress, PartitionOffsets, Stage},
        record::Partition,
    },
    retry::Backoff,
};
use jiff::Timestamp;

use super::log::checkpoint::Checkpoint;
use crate::error::Error;

/// Asks for the progress of the stages before a sink and, as the last stage, of the sink itself.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WatermarkTracker {
    progress: Arc<GroupProgress>,
    /// Index of the sink's own stage.
    own: usize,
}

/// Once the sink has read up to `ends`, it has read all rows of submissions that were in Kafka at
/// `time`.
#[derive(Debug)]
pub(crate) struct Watermark {
    /// In microseconds since 1970.
    pub(crate) time: i64,
    pub(crate) ends: PartitionOffsets,
}

/// What Kafka knows of the sink's group and topics.
#[derive(Clone, Debug)]
pub(crate) struct CommittedOffsets {
    /// The committed offsets of the group in the assigned partitions.
    group: PartitionOffsets,
    ends: PartitionOffsets,
}

/// The delays between two checks of a stage. A working step needs milliseconds, one that is stuck
/// needs longer.
const FIRST_DELAY: Duration = Duration::from_millis(25);
const MAX_DELAY: Duration = Duration::from_millis(500);

// === impl WatermarkTracker ===

impl WatermarkTracker {
    pub(crate) fn open(client: &Client, app: &App, sink: &Sink) -> Result<Self, ClientError> {
        let mut stages = app.upstream(&sink.input);
        let own = stages.len();
        stages.push(Stage {
            group: sink.group(),
            topics: sink.input.clone(),
        });
        Ok(Self {
            progress: Arc::new(GroupProgress::open(client, stages)?),
            own,
        })
    }

    /// Waits until every stage before the sink has passed what is in Kafka now.
    pub(crate) async fn measure(self) -> Result<Watermark, ClientError> {
        let time = Timestamp::now().as_microsecond();
        for stage in 0..self.own {
            let ends = self
                .ask(move |progress| progress.ends_to_pass(stage))
                .await?;
            let ends = Arc::new(ends);
            let mut backoff = Backoff::new(FIRST_DELAY, MAX_DELAY);
            loop {
                let ends = Arc::clone(&ends);
                let passed = self.ask(move |progress| progress.has_passed(stage, &ends));
                if passed.await? {
                    break;
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        }
        let own = self.own;
        // Without partitions whose records have all expired: the sink would never get a position in
        // them.
        let ends = self.ask(move |progress| progress.ends_to_pass(own)).await?;
        Ok(Watermark { time, ends })
    }

    /// The committed offsets of the group in these partitions. Retries while Kafka is unavailable.
    pub(crate) async fn wait_for_committed(&self, partitions: Vec<Partition>) -> CommittedOffsets {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.committed(partitions.clone()).await {
                Ok(committed) => return committed,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the committed offsets; retrying");
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }

    async fn committed(&self, partitions: Vec<Partition>) -> Result<CommittedOffsets, ClientError> {
        let own = self.own;
        self.ask(move |progress| {
            let mut group = progress.committed(own)?;
            group.retain(|(topic, number, _)| {
                let is_it = |one: &Partition| *one.topic == **topic && one.number == *number;
                partitions.iter().any(is_it)
            });
            Ok(CommittedOffsets {
                group,
                ends: progress.ends(own)?,
            })
        })
        .await
    }

    /// Runs a call that blocks its thread.
    async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&GroupProgress) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let progress = Arc::clone(&self.progress);
        let answer = tokio::task::spawn_blocking(move || call(&progress));
        answer
            .await
            .expect("the calls do not panic, and the runtime outlives the sink")
    }
}

// === impl CommittedOffsets ===

impl CommittedOffsets {
    /// Whether the group has committed more than `checkpoint` contains. Then rows were written that
    /// the checkpoint does not know.
    pub(crate) fn is_beyond(&self, checkpoint: &Checkpoint) -> bool {
        self.group.iter().any(|(topic, number, next)| {
            let same = |low: &(&str, i32, i64)| low.0 == topic && low.1 == *number;
            let low = checkpoint.positions.lows().find(same);
            low.map_or(0, |(_, _, low)| low) < *next
        })
    }

    /// Checks that a checkpoint is not ahead of Kafka.
    ///
    /// # Errors
    /// If it is: it was written for another topic of the same name.
    pub(crate) fn check_not_ahead(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let ahead = checkpoint.positions.lows().find(|(topic, number, low)| {
            let same = |end: &&(String, i32, i64)| end.0 == *topic && end.1 == *number;
            let end = self.ends.iter().find(same);
            end.is_some_and(|(_, _, end)| low > end)
        });
        match ahead {
            Some((topic, _, _)) => Err(Error::TopicStartedOver {
                topic: topic.to_owned(),
            }),
            None => Ok(()),
        }
    }
}
