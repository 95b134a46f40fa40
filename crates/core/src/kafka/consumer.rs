//! A member of a consumer group, polled by its owner. What was read counts as done only once its offset is
//! committed, in a transaction (steps) or by `commit` (sinks).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{
        BaseConsumer, CommitMode, Consumer as _, ConsumerContext, ConsumerGroupMetadata, Rebalance,
    },
    error::{KafkaError, RDKafkaErrorCode},
    message::Message as _,
};

use crate::{
    kafka::client::{self, Client},
    kafka::record::{Partition, Record},
};

/// One member of a consumer group. It never reads records of open or aborted transactions.
pub struct Consumer {
    inner: BaseConsumer<Rebalances>,
    topics: Vec<Arc<str>>,
}

/// Who joins which group for which topics.
#[derive(Clone, Debug)]
pub struct Options {
    /// The group: `formline.<app>.<step or sink>`.
    pub group: String,
    /// A name that this member keeps over restarts (KIP-345): when it is killed and started again, it gets its
    /// partitions back at once instead of after the session time-out.
    pub member: String,
    /// Topics to read. Partitions of the same number go to the same member.
    pub topics: Vec<String>,
}

/// What a call of `poll` brought.
#[derive(Debug)]
pub enum Polled {
    /// The next record of some partition.
    Record(Record),
    /// These partitions are ours from now on, starting at the committed offset.
    Assigned(Vec<Partition>),
    /// These partitions are not ours any more. What was read of them and is not committed is someone else's.
    Revoked(Vec<Partition>),
    /// Nothing came in time.
    Idle,
}

/// Why a consumer failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the same member name. Stop: only the operator can mend it.
    #[error("another process runs as `{member}`; give each process its own FORMLINE_INSTANCE")]
    Fenced {
        /// The name that both use.
        member: String,
    },
    /// This consumer is unusable. Make a new one.
    #[error("the consumer failed: {0}")]
    Failed(#[source] KafkaError),
    /// It could not be made.
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// How long a member may be silent before its partitions go to others. Kafka allows no less than 6 s by default.
const SESSION_TIMEOUT_MS: &str = "10000";

/// The longest wait for Kafka when a member leaves; then it leaves all the same.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Consumer ===

impl Consumer {
    /// Joins the group.
    pub fn join(client: &Client, options: &Options) -> Result<Self, Error> {
        let mut config = client.common();
        config
            .set("group.id", &options.group)
            .set("group.instance.id", &options.member)
            // The same assignor everywhere: it keeps equal partition numbers of several topics together, which steps
            // with state need.
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "2000")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // At the bound librdkafka stops fetching, and looks again after `fetch.queue.backoff.ms`.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        let context = Rebalances {
            member: options.member.clone(),
            changes: Mutex::default(),
        };
        let inner: BaseConsumer<Rebalances> = client.open(config, context)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        inner.subscribe(&topics).map_err(Error::Failed)?;
        Ok(Self {
            inner,
            topics: Vec::new(),
        })
    }

    /// Waits for the next record or change of assignment, at most for `limit`. Call it at least every few minutes
    /// (`max.poll.interval.ms`), or the partitions go to another member.
    pub fn poll(&mut self, limit: Duration) -> Result<Polled, Error> {
        if let Some(change) = self.inner.context().take() {
            return Ok(change);
        }
        // A call that brings a change of assignment brings no record (rdkafka returns after each such event).
        match self.inner.poll(limit) {
            Some(Ok(message)) => {
                let topic = intern(&mut self.topics, message.topic());
                return Ok(Polled::Record(Record::copy(&message, topic)));
            }
            Some(Err(error)) => self.classify(error)?,
            None => {}
        }
        Ok(self.inner.context().take().unwrap_or(Polled::Idle))
    }

    /// Commits that everything before each offset is done, without waiting for the answer.
    pub fn commit(&self, next: &[(Partition, i64)]) -> Result<(), Error> {
        self.inner
            .commit(&offsets(next), CommitMode::Async)
            .map_err(Error::Failed)
    }

    /// Continues a partition at `offset`, for instance after a batch was taken back. Like `pause` and `positions` it
    /// waits for librdkafka's own thread, never for a broker; what was fetched before does not come any more.
    pub fn seek(&self, partition: &Partition, offset: i64) -> Result<(), Error> {
        let at = Offset::Offset(offset);
        self.inner
            .seek(
                &partition.topic,
                partition.number,
                at,
                client::QUERY_TIMEOUT,
            )
            .map_err(Error::Failed)
    }

    /// Stops (or starts again) fetching these partitions. `poll` goes on and keeps the membership.
    pub fn pause(&self, partitions: &[Partition], pause: bool) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic, partition.number);
        }
        let done = if pause {
            self.inner.pause(&list)
        } else {
            self.inner.resume(&list)
        };
        done.map_err(Error::Failed)
    }

    /// Where each assigned partition will be read next, behind the last record and the control records after it.
    pub fn positions(&mut self) -> Result<Vec<(Partition, i64)>, Error> {
        let list = self.inner.position().map_err(Error::Failed)?;
        known_offsets(&list, &mut self.topics).map_err(Error::Failed)
    }

    /// The committed offset of each assigned partition that has one.
    pub fn committed(&mut self) -> Result<Vec<(Partition, i64)>, Error> {
        let list = self
            .inner
            .committed(client::QUERY_TIMEOUT)
            .map_err(Error::Failed)?;
        known_offsets(&list, &mut self.topics).map_err(Error::Failed)
    }

    /// The partitions that are assigned now.
    pub fn assigned(&mut self) -> Result<Vec<Partition>, Error> {
        let list = self.inner.assignment().map_err(Error::Failed)?;
        Ok(partitions(&list, &mut self.topics))
    }

    pub(crate) fn group_metadata(&self) -> ConsumerGroupMetadata {
        self.inner
            .group_metadata()
            .expect("it was made with a group.id")
    }

    /// Errors that pass by themselves (brokers away, a topic not there yet) are librdkafka's to retry.
    fn classify(&self, error: KafkaError) -> Result<(), Error> {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::FencedInstanceId) {
            return Err(Error::Fenced {
                member: self.inner.context().member.clone(),
            });
        }
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(Error::Failed(error));
        }
        tracing::debug!(%error, "the consumer waits for kafka");
        Ok(())
    }
}

/// Gives everything back before librdkafka closes the group. If a new assignment is still under way when it closes,
/// rdkafka answers it, nobody takes the answer any more, and the thread would wait for ever.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.inner.unsubscribe();
        let until = Instant::now() + LEAVE_TIMEOUT;
        let mut quiet = 0;
        while quiet < 2 && Instant::now() < until {
            let brought = self.inner.poll(Duration::from_millis(10)).is_some();
            let changed = self.inner.context().take().is_some();
            let holds = self.inner.assignment().is_ok_and(|held| held.count() > 0);
            quiet = if brought || changed || holds {
                0
            } else {
                quiet + 1
            };
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// The one copy of a topic's name that all its records share.
pub(crate) fn intern(topics: &mut Vec<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(topic) = topics.iter().find(|topic| &***topic == name) {
        return Arc::clone(topic);
    }
    let topic: Arc<str> = name.into();
    topics.push(Arc::clone(&topic));
    topic
}

fn partitions(list: &TopicPartitionList, topics: &mut Vec<Arc<str>>) -> Vec<Partition> {
    let elements = list.elements();
    let partitions = elements.iter().map(|element| Partition {
        topic: intern(topics, element.topic()),
        number: element.partition(),
    });
    partitions.collect()
}

pub(crate) fn offsets(next: &[(Partition, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(next.len());
    for (partition, offset) in next {
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(*offset))
            .expect("an offset that kafka gave is a valid offset");
    }
    list
}

pub(crate) fn known_offsets(
    list: &TopicPartitionList,
    topics: &mut Vec<Arc<str>>,
) -> Result<Vec<(Partition, i64)>, KafkaError> {
    let mut known = Vec::with_capacity(list.count());
    for element in list.elements() {
        // Taken for no offset at all, an error would begin the partition anew.
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            let topic = intern(topics, element.topic());
            known.push((
                Partition {
                    topic,
                    number: element.partition(),
                },
                offset,
            ));
        }
    }
    Ok(known)
}

// === Rebalances ===

/// Collects changes of assignment, which librdkafka reports from inside `poll`.
struct Rebalances {
    member: String,
    changes: Mutex<VecDeque<Polled>>,
}

impl Rebalances {
    fn take(&self) -> Option<Polled> {
        self.changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn note(&self, change: impl FnOnce(Vec<Partition>) -> Polled, list: &TopicPartitionList) {
        let partitions = partitions(list, &mut Vec::new());
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push_back(change(partitions));
    }
}

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.note(Polled::Revoked, partitions);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            self.note(Polled::Assigned, partitions);
        }
    }
}
