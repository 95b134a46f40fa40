//! Topics as the apps declare them: names, and creating them in Kafka.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::kafka::client::{self, Client};

/// A topic to be there before anything runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic {
    /// Its name in Kafka.
    pub name: String,
    /// Number of partitions. It can be raised later, which moves keys to other partitions.
    pub partitions: i32,
    /// Kafka's settings for it, such as `retention.ms` or `cleanup.policy`.
    pub config: BTreeMap<String, String>,
}

/// What `apply` did with one topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Applied {
    /// It was created.
    Created,
    /// It was there.
    Unchanged,
    /// Partitions were added to it.
    Extended {
        /// How many it had before.
        from: i32,
    },
}

/// A topic that could not be brought into its declared form.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka has more partitions than declared; they cannot be taken away. Stop.
    #[error(
        "topic {topic} has {found} partitions and {declared} are declared; kafka cannot remove partitions, so declare {found}"
    )]
    TooManyPartitions {
        /// The topic.
        topic: String,
        /// What Kafka has.
        found: i32,
        /// What the app declares.
        declared: i32,
    },
    /// Kafka refuses it. Stop.
    #[error("kafka refuses topic {topic}: {code}")]
    Refused {
        /// The topic.
        topic: String,
        /// Kafka's reason.
        code: RDKafkaErrorCode,
    },
    /// Kafka cannot be asked. Retry.
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// Partitions of a topic that declares none.
pub const DEFAULT_PARTITIONS: i32 = 6;

/// Kafka's limit of a topic's name.
pub const NAME_LIMIT: usize = 249;

const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Looks at a topic whose partitions are not told yet, and the time between two.
const LOOKS: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Name of the changelog of a step's stores.
pub fn state(app: &str, step: &str) -> String {
    format!("{app}.{step}.state")
}

/// Name of the topic where a step or sink parks records that it gave up.
pub fn dead_letter(app: &str, step: &str) -> String {
    format!("{app}.{step}.dead-letter")
}

/// Name of the topic where a sink notes what it has done with each record, if its effect cannot be looked at.
pub fn journal(app: &str, sink: &str) -> String {
    format!("{app}.{sink}.journal")
}

/// Name of the topic where the records of a sink wait for their next attempt.
pub fn retries(app: &str, sink: &str) -> String {
    format!("{app}.{sink}.retries")
}

/// Name of the consumer group of a step or sink.
pub fn group(app: &str, step: &str) -> String {
    format!("formline.{app}.{step}")
}

/// Whether Kafka takes the name: letters, digits, `.`, `_` and `-`, at most 249.
pub fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name.chars().all(legal)
        && !matches!(name, "." | "..")
}

/// Creates the topics that are missing and adds partitions where more are declared. Settings of existing topics stay
/// as the operator has them.
pub async fn apply(client: &Client, topics: &[Topic]) -> Result<Vec<(String, Applied)>, Error> {
    let admin: AdminClient<DefaultClientContext> =
        client.open(client.common(), DefaultClientContext)?;
    let mut applied = Vec::with_capacity(topics.len());
    for topic in topics {
        let outcome = match create(client, &admin, topic).await? {
            Applied::Created => Applied::Created,
            _ => extend(client, &admin, topic).await?,
        };
        applied.push((topic.name.clone(), outcome));
    }
    Ok(applied)
}

async fn create(
    client: &Client,
    admin: &AdminClient<DefaultClientContext>,
    topic: &Topic,
) -> Result<Applied, Error> {
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
        None | Some(Ok(_)) => Ok(Applied::Created),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Applied::Unchanged),
        Some(Err((topic, code))) => Err(refused(client, topic, code)),
    }
}

async fn extend(
    client: &Client,
    admin: &AdminClient<DefaultClientContext>,
    topic: &Topic,
) -> Result<Applied, Error> {
    let found = wait_for_partitions(client, admin, &topic.name, 1).await?;
    if found > topic.partitions {
        let (topic, declared) = (topic.name.clone(), topic.partitions);
        return Err(Error::TooManyPartitions {
            topic,
            found,
            declared,
        });
    }
    if found == topic.partitions {
        return Ok(Applied::Unchanged);
    }
    let total = usize::try_from(topic.partitions).expect("the check refuses negative numbers");
    let more = NewPartitions::new(&topic.name, total);
    let results = admin.create_partitions([&more], &admin_options()).await;
    match results
        .map_err(|error| client.unreachable(error))?
        .into_iter()
        .next()
    {
        None | Some(Ok(_)) => Ok(Applied::Extended { from: found }),
        // Another process has been faster.
        Some(Err((_, RDKafkaErrorCode::InvalidPartitions))) => {
            wait_for_partitions(client, admin, &topic.name, topic.partitions).await?;
            Ok(Applied::Unchanged)
        }
        Some(Err((topic, code))) => Err(refused(client, topic, code)),
    }
}

/// How many partitions a topic has, at least so many: what another process has done just now is not told at once.
async fn wait_for_partitions(
    client: &Client,
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    least: i32,
) -> Result<i32, Error> {
    for _ in 0..LOOKS {
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
        tokio::time::sleep(PAUSE).await;
    }
    let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    Err(client.unreachable(unknown).into())
}

fn admin_options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ADMIN_TIMEOUT))
        .operation_timeout(Some(ADMIN_TIMEOUT))
}

/// Tells a refusal, which stays, from an outage, which passes.
fn refused(client: &Client, topic: String, code: RDKafkaErrorCode) -> Error {
    use RDKafkaErrorCode as Code;
    match code {
        Code::RequestTimedOut
        | Code::OperationTimedOut
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::NotController => client.unreachable(KafkaError::AdminOp(code)).into(),
        _ => Error::Refused { topic, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_kafka_takes_are_legal() {
        assert!(is_legal("student-data.rows_1"));
        let long = "x".repeat(NAME_LIMIT + 1);
        for name in ["", ".", "..", "a/b", "a b", "ä", &long] {
            assert!(!is_legal(name), "{name}");
        }
    }
}
