//! What the sink asks Kafka beside reading: how far its group was, and whether everything that was accepted before a
//! moment has come in ("the chase").
//!
//! Rows must stand in order of submission, but the line before the sink has several partitions, threads and processes.
//! A chase takes the time, then follows what is in Kafka at that time through every consumer group up to the sink:
//! when a group has committed past the ends of its inputs, its outputs are in the next topics, and their ends are
//! taken. When the sink has read past the last ends, every row of a submission that was in Kafka at that time has come.
//! Against a hold-back by the times of the records alone this also holds when one partition is slow.

use std::{sync::Arc, time::Duration};

use formline_core::{
    App, Client,
    app::Sink,
    client,
    progress::{Offsets, Progress, Stage},
    record::Partition,
    retry::Backoff,
};
use jiff::Timestamp;

use super::mark::Mark;
use crate::Error;

/// Asks about the stages before a sink, and the sink itself as the last. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    progress: Arc<Progress>,
    own: usize,
}

/// A chase that has come to the sink: once the sink has read up to `ends`, all rows of submissions that were in Kafka
/// at `time` (microseconds since 1970) have come.
#[derive(Debug)]
pub(crate) struct Chased {
    pub(crate) time: i64,
    pub(crate) ends: Offsets,
}

/// What Kafka knows of the sink's group and topics.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    /// What the group has committed on the assigned partitions.
    group: Offsets,
    ends: Offsets,
}

/// Between two questions whether a stage has passed. A step at work needs milliseconds; one that is stuck, longer.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

// === impl Upstream ===

impl Upstream {
    pub(crate) fn open(client: &Client, app: &App, sink: &Sink) -> Result<Self, client::Error> {
        let mut stages = app.upstream(&sink.input);
        let own = stages.len();
        stages.push(Stage {
            group: sink.group(),
            topics: sink.input.clone(),
        });
        Ok(Self {
            progress: Arc::new(Progress::open(client, stages)?),
            own,
        })
    }

    /// Follows what is in Kafka now up to the sink's own topics. Ends only when every stage has passed it.
    pub(crate) async fn chase(self) -> Result<Chased, client::Error> {
        let time = Timestamp::now().as_microsecond();
        for stage in 0..self.own {
            let ends = self
                .ask(move |progress| progress.ends_to_pass(stage))
                .await?;
            let ends = Arc::new(ends);
            let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
            loop {
                let asked = Arc::clone(&ends);
                if self
                    .ask(move |progress| progress.has_passed(stage, &asked))
                    .await?
                {
                    break;
                }
                tokio::time::sleep(pause.delay()).await;
            }
        }
        let own = self.own;
        // A partition whose records have all expired has nothing to read, so the sink would never get a position in it.
        let ends = self.ask(move |progress| progress.ends_to_pass(own)).await?;
        Ok(Chased { time, ends })
    }

    /// What Kafka knows of the group on these partitions. Waits while Kafka is away.
    pub(crate) async fn committed_when_kafka_answers(
        &self,
        partitions: Vec<Partition>,
    ) -> Committed {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.committed(partitions.clone()).await {
                Ok(committed) => return committed,
                Err(error) => {
                    tracing::warn!(%error, "kafka does not say how far the sink is");
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }

    async fn committed(&self, partitions: Vec<Partition>) -> Result<Committed, client::Error> {
        let own = self.own;
        self.ask(move |progress| {
            let mut group = progress.committed(own)?;
            group.retain(|(topic, number, _)| {
                let is_it = |one: &Partition| *one.topic == **topic && one.number == *number;
                partitions.iter().any(is_it)
            });
            Ok(Committed {
                group,
                ends: progress.ends(own)?,
            })
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Progress) -> Result<T, client::Error> + Send + 'static,
    ) -> Result<T, client::Error> {
        let progress = Arc::clone(&self.progress);
        let answer = tokio::task::spawn_blocking(move || question(&progress));
        answer
            .await
            .expect("questions do not panic, and the runtime outlives the sink")
    }
}

// === impl Committed ===

impl Committed {
    /// Whether the group was further than `mark`: then rows were written that it does not know of.
    pub(crate) fn is_beyond(&self, mark: &Mark) -> bool {
        self.group.iter().any(|(topic, number, next)| {
            let same = |low: &(&str, i32, i64)| low.0 == topic && low.1 == *number;
            mark.positions
                .lows()
                .find(same)
                .map_or(0, |(_, _, low)| low)
                < *next
        })
    }

    /// Refuses a mark that is ahead of Kafka: it was written for another topic of the same name.
    pub(crate) fn check(&self, mark: &Mark) -> Result<(), Error> {
        let ahead = mark.positions.lows().find(|(topic, number, low)| {
            let same = |end: &&(String, i32, i64)| end.0 == *topic && end.1 == *number;
            self.ends
                .iter()
                .find(same)
                .is_some_and(|(_, _, end)| low > end)
        });
        match ahead {
            Some((topic, _, _)) => Err(Error::TopicStartedOver {
                topic: topic.to_owned(),
            }),
            None => Ok(()),
        }
    }
}
