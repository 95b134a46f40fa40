//! The topics that the apps declare: their names, and how they are created in Kafka.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::client::{self, Client, ClientError};

/// A topic that must exist before a stage starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic {
    /// Name in Kafka.
    pub name: String,
    /// Number of partitions. It can be increased later, which moves keys to other partitions.
    pub partitions: i32,
    /// Topic configuration of Kafka, such as `retention.ms` or `cleanup.policy`.
    pub config: BTreeMap<String, String>,
}

/// What [`apply`] did to a topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TopicChange {
    /// The topic was created.
    Created,
    /// The topic existed.
    Unchanged,
    /// Partitions were added.
    Extended {
        /// Number of partitions before.
        from: i32,
    },
}

/// Why a topic could not be created or extended.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The topic has more partitions than declared, and Kafka cannot remove any. Stop.
    #[error(
        "topic {topic} has {found} partitions and {declared} are declared; kafka cannot remove partitions, so declare {found}"
    )]
    TooManyPartitions {
        /// Name of the topic.
        topic: String,
        /// Number of partitions in Kafka.
        found: i32,
        /// Number of partitions that the app declares.
        declared: i32,
    },
    /// Kafka rejected the topic. Stop.
    #[error("kafka rejects topic {topic}: {code}")]
    Rejected {
        /// Name of the topic.
        topic: String,
        /// Error code of Kafka.
        code: RDKafkaErrorCode,
    },
    /// Kafka could not be queried. Retry.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Number of partitions of a topic that declares none.
pub const DEFAULT_PARTITIONS: i32 = 6;

/// Maximum length of a topic name in Kafka.
pub const NAME_LIMIT: usize = 249;

const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Number of metadata requests for a topic whose partitions are not known yet, and their interval.
const METADATA_ATTEMPTS: usize = 100;
const METADATA_INTERVAL: Duration = Duration::from_millis(100);

/// Returns the name of the changelog of a step's stores.
pub fn state(app: &str, step: &str) -> String {
    format!("{app}.{step}.state")
}

/// Returns the name of the dead-letter topic of a step or sink.
pub fn dead_letter(app: &str, step: &str) -> String {
    format!("{app}.{step}.dead-letter")
}

/// Returns the name of the topic in which a sink records the outcome of each record, if its effect
/// cannot be queried at the destination.
pub fn journal(app: &str, sink: &str) -> String {
    format!("{app}.{sink}.journal")
}

/// Returns the name of the topic in which the records of a sink wait for their next attempt.
pub fn retries(app: &str, sink: &str) -> String {
    format!("{app}.{sink}.retries")
}

/// Returns the name of the consumer group of a step or sink.
pub fn group(app: &str, step: &str) -> String {
    format!("formline.{app}.{step}")
}

/// Returns whether Kafka accepts the name: at most 249 letters, digits, `.`, `_` and `-`.
pub fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name.chars().all(legal)
        && !matches!(name, "." | "..")
}

/// Creates missing topics and adds partitions to topics that declare more than they have. Does not
/// change the configuration of existing topics. Several processes may call it at the same time.
///
/// # Errors
///
/// Fails if a topic has more partitions than it declares, if Kafka rejects a topic, or if Kafka
/// does not answer. Topics before the failed one have been applied.
pub async fn apply(
    client: &Client,
    topics: &[Topic],
) -> Result<Vec<(String, TopicChange)>, TopicError> {
    let admin: AdminClient<DefaultClientContext> =
        client.open(client.common(), DefaultClientContext)?;
    let mut applied = Vec::with_capacity(topics.len());
    for topic in topics {
        let change = match create(client, &admin, topic).await? {
            TopicChange::Created => TopicChange::Created,
            _ => extend(client, &admin, topic).await?,
        };
        applied.push((topic.name.clone(), change));
    }
    Ok(applied)
}

async fn create(
    client: &Client,
    admin: &AdminClient<DefaultClientContext>,
    topic: &Topic,
) -> Result<TopicChange, TopicError> {
    // -1: the broker's default.replication.factor (KIP-464).
    let mut new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(-1));
    for (name, value) in &topic.config {
        new = new.set(name, value);
    }
    let results = admin.create_topics([&new], &admin_options()).await;
    match results
        .map_err(|error| client.unreachable(error))?
        .into_iter()
        .next()
    {
        None | Some(Ok(_)) => Ok(TopicChange::Created),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(TopicChange::Unchanged),
        Some(Err((topic, code))) => Err(topic_error(client, topic, code)),
    }
}

async fn extend(
    client: &Client,
    admin: &AdminClient<DefaultClientContext>,
    topic: &Topic,
) -> Result<TopicChange, TopicError> {
    let found = wait_for_partitions(client, admin, &topic.name, 1).await?;
    if found > topic.partitions {
        let (topic, declared) = (topic.name.clone(), topic.partitions);
        return Err(TopicError::TooManyPartitions {
            topic,
            found,
            declared,
        });
    }
    if found == topic.partitions {
        return Ok(TopicChange::Unchanged);
    }
    let total =
        usize::try_from(topic.partitions).expect("the check of the app rejects negative numbers");
    let more = NewPartitions::new(&topic.name, total);
    let results = admin.create_partitions([&more], &admin_options()).await;
    match results
        .map_err(|error| client.unreachable(error))?
        .into_iter()
        .next()
    {
        None | Some(Ok(_)) => Ok(TopicChange::Extended { from: found }),
        // Another process has added them.
        Some(Err((_, RDKafkaErrorCode::InvalidPartitions))) => {
            wait_for_partitions(client, admin, &topic.name, topic.partitions).await?;
            Ok(TopicChange::Unchanged)
        }
        Some(Err((topic, code))) => Err(topic_error(client, topic, code)),
    }
}

/// Waits until a topic has at least `least` partitions, and returns their number. Brokers learn of
/// a change by another process with a delay.
async fn wait_for_partitions(
    client: &Client,
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    least: i32,
) -> Result<i32, TopicError> {
    for _ in 0..METADATA_ATTEMPTS {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(topic), client::QUERY_TIMEOUT);
        let metadata = metadata.map_err(|error| client.unreachable(error))?;
        let count = metadata
            .topics()
            .first()
            .map_or(0, |found| found.partitions().len());
        let count = i32::try_from(count).expect("kafka counts partitions in 32 bits");
        if count >= least {
            return Ok(count);
        }
        tokio::time::sleep(METADATA_INTERVAL).await;
    }
    let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    Err(client.unreachable(unknown).into())
}

fn admin_options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ADMIN_TIMEOUT))
        .operation_timeout(Some(ADMIN_TIMEOUT))
}

/// Distinguishes a rejection, which is permanent, from an outage, which is transient.
fn topic_error(client: &Client, topic: String, code: RDKafkaErrorCode) -> TopicError {
    use RDKafkaErrorCode as Code;
    match code {
        Code::RequestTimedOut
        | Code::OperationTimedOut
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::NotController => client.unreachable(KafkaError::AdminOp(code)).into(),
        _ => TopicError::Rejected { topic, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_kafka_accepts_are_legal() {
        assert!(is_legal("student-data.rows_1"));
        let long = "x".repeat(NAME_LIMIT + 1);
        for name in ["", ".", "..", "a/b", "a b", "ä", &long] {
            assert!(!is_legal(name), "{name}");
        }
    }
}
