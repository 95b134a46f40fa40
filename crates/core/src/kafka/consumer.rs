//! A member of a consumer group. A record counts as processed only when its offset is committed, in
//! a transaction (steps) or with [`Consumer::commit`] (sinks).

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

use super::{
    client::{self, Client, ClientError},
    opaque::Opaque,
    record::{Partition, Record},
};

/// One member of a consumer group. It reads committed records only (`read_committed`).
///
/// ```no_run
/// use std::time::Duration;
///
/// use formline_core::{
///     Client, Consumer,
///     kafka::consumer::{ConsumerOptions, Polled},
/// };
///
/// # fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let options = ConsumerOptions {
///     group: "formline.demo.rows".to_owned(),
///     member: "host-1".to_owned(),
///     topics: vec!["orders".to_owned()],
/// };
/// let mut consumer = Consumer::join(client, &options)?;
/// loop {
///     if let Polled::Record(record) = consumer.poll(Duration::from_millis(100))? {
///         println!("{record:?}");
///         consumer.commit(&[(record.partition, record.offset + 1)])?;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    inner: Opaque<BaseConsumer<Rebalances>>,
    topics: Vec<Arc<str>>,
}

/// The group, the member and the topics of a [`Consumer`].
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The consumer group: `formline.<app>.<step or sink>`.
    pub group: String,
    /// The static member id (KIP-345), the same after each restart: a member that is killed and
    /// restarted receives its partitions at once instead of after the session timeout.
    pub member: String,
    /// The topics to read. Partitions of the same number are assigned to the same member.
    pub topics: Vec<String>,
}

/// The result of [`Consumer::poll`].
#[derive(Debug)]
pub enum Polled {
    /// The next record of an assigned partition.
    Record(Record),
    /// These partitions are assigned to this member from now on. It reads them from the committed
    /// offset.
    Assigned(Vec<Partition>),
    /// These partitions are no longer assigned to this member. Another member processes their
    /// uncommitted records.
    Revoked(Vec<Partition>),
    /// The time limit expired.
    Idle,
}

/// Why a consumer failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// Another process uses the same member id. Stop: the operator must change one of them.
    #[error("another process runs as `{member}`; give each process its own FORMLINE_INSTANCE")]
    Fenced {
        /// The member id of both processes.
        member: String,
    },
    /// The consumer is unusable. Create a new one.
    #[error("the consumer failed: {0}")]
    Failed(#[source] KafkaError),
    /// The consumer could not be created.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Kafka assigns the partitions of a member that is silent for this long to other members. The
/// default minimum of Kafka is 6 s.
const SESSION_TIMEOUT_MS: &str = "10000";

/// Maximum time to leave the group properly when the consumer is dropped.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Consumer ===

impl Consumer {
    /// Joins the group. Does not wait for an assignment.
    pub fn join(client: &Client, options: &ConsumerOptions) -> Result<Self, ConsumerError> {
        let mut config = client.common();
        config
            .set("group.id", &options.group)
            .set("group.instance.id", &options.member)
            // Assigns equal partition numbers of several topics to one member, which steps with
            // state require. All members of a group must use the same assignor.
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "2000")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // A full queue stops fetching. librdkafka checks it again after
            // `fetch.queue.backoff.ms`.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        let context = Rebalances {
            member: options.member.clone(),
            changes: Mutex::default(),
        };
        let inner: BaseConsumer<Rebalances> = client.open(config, context)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        inner.subscribe(&topics).map_err(ConsumerError::Failed)?;
        Ok(Self {
            inner: Opaque(inner),
            topics: Vec::new(),
        })
    }

    /// Waits up to `limit` for the next record or change of assignment. Call it at least every five
    /// minutes (`max.poll.interval.ms`); otherwise Kafka assigns the partitions to another member.
    pub fn poll(&mut self, limit: Duration) -> Result<Polled, ConsumerError> {
        if let Some(change) = self.inner.context().take() {
            return Ok(change);
        }
        // rdkafka returns after each change of assignment, so one call never returns a record and
        // a change.
        match self.inner.poll(limit) {
            Some(Ok(message)) => {
                let topic = intern(&mut self.topics, message.topic());
                return Ok(Polled::Record(Record::copy(&message, topic)));
            }
            Some(Err(error)) => self.check(error)?,
            None => {}
        }
        Ok(self.inner.context().take().unwrap_or(Polled::Idle))
    }

    /// Commits the next offset to read of each partition. Does not wait for Kafka's answer.
    pub fn commit(&self, next: &[(Partition, i64)]) -> Result<(), ConsumerError> {
        self.inner
            .commit(&offsets(next), CommitMode::Async)
            .map_err(ConsumerError::Failed)
    }

    /// Continues a partition at `offset`, for instance after a batch was rolled back. Records that
    /// were fetched before are discarded.
    ///
    /// Like [`pause`](Self::pause) and [`positions`](Self::positions), it waits for librdkafka's
    /// thread but never for a broker.
    pub fn seek(&self, partition: &Partition, offset: i64) -> Result<(), ConsumerError> {
        let at = Offset::Offset(offset);
        self.inner
            .seek(
                &partition.topic,
                partition.number,
                at,
                client::QUERY_TIMEOUT,
            )
            .map_err(ConsumerError::Failed)
    }

    /// Pauses or resumes fetching of these partitions. Keep calling [`poll`](Self::poll), which
    /// maintains the membership.
    pub fn pause(&self, partitions: &[Partition], pause: bool) -> Result<(), ConsumerError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic, partition.number);
        }
        let done = if pause {
            self.inner.pause(&list)
        } else {
            self.inner.resume(&list)
        };
        done.map_err(ConsumerError::Failed)
    }

    /// Returns the next offset of each assigned partition, after the last record and the control
    /// records that follow it.
    pub fn positions(&mut self) -> Result<Vec<(Partition, i64)>, ConsumerError> {
        let list = self.inner.position().map_err(ConsumerError::Failed)?;
        known_offsets(&list, &mut self.topics).map_err(ConsumerError::Failed)
    }

    /// Returns the committed offset of each assigned partition that has one.
    pub fn committed(&mut self) -> Result<Vec<(Partition, i64)>, ConsumerError> {
        let list = self
            .inner
            .committed(client::QUERY_TIMEOUT)
            .map_err(ConsumerError::Failed)?;
        known_offsets(&list, &mut self.topics).map_err(ConsumerError::Failed)
    }

    /// Returns the assigned partitions.
    pub fn assigned(&mut self) -> Result<Vec<Partition>, ConsumerError> {
        let list = self.inner.assignment().map_err(ConsumerError::Failed)?;
        Ok(partitions(&list, &mut self.topics))
    }

    pub(crate) fn group_metadata(&self) -> ConsumerGroupMetadata {
        self.inner
            .group_metadata()
            .expect("the consumer has a group.id")
    }

    /// Ignores transient errors, such as an unreachable broker or a missing topic: librdkafka
    /// retries.
    fn check(&self, error: KafkaError) -> Result<(), ConsumerError> {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::FencedInstanceId) {
            return Err(ConsumerError::Fenced {
                member: self.inner.context().member.clone(),
            });
        }
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(ConsumerError::Failed(error));
        }
        tracing::debug!(%error, "the consumer is waiting for kafka");
        Ok(())
    }
}

/// Leaves the group before librdkafka closes the consumer. A rebalance during the close would block
/// the thread forever, because rdkafka would acknowledge it to a queue that is no longer served.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.inner.unsubscribe();
        let until = Instant::now() + LEAVE_TIMEOUT;
        let mut quiet = 0;
        while quiet < 2 && Instant::now() < until {
            let has_event = self.inner.poll(Duration::from_millis(10)).is_some();
            let has_change = self.inner.context().take().is_some();
            let is_assigned = self.inner.assignment().is_ok_and(|list| list.count() > 0);
            quiet = if has_event || has_change || is_assigned {
                0
            } else {
                quiet + 1
            };
        }
    }
}

/// Returns the copy of a topic's name that all its records share.
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
            .expect("an offset that kafka returned is valid");
    }
    list
}

pub(crate) fn known_offsets(
    list: &TopicPartitionList,
    topics: &mut Vec<Arc<str>>,
) -> Result<Vec<(Partition, i64)>, KafkaError> {
    let mut known = Vec::with_capacity(list.count());
    for element in list.elements() {
        // If an error were read as a missing offset, the partition would be read from its start.
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

/// Collects the changes of assignment, which librdkafka reports during `poll`.
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

    fn push(&self, change: impl FnOnce(Vec<Partition>) -> Polled, list: &TopicPartitionList) {
        let partitions = partitions(list, &mut Vec::new());
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push_back(change(partitions));
    }
}

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.push(Polled::Revoked, partitions);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            self.push(Polled::Assigned, partitions);
        }
    }
}
