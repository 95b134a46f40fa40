//! The configuration that all Kafka clients share. This is the only file that checks librdkafka's
//! properties.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
};

/// The address of Kafka and the librdkafka properties of the operator. Cheap to clone.
///
/// It opens no connection: [`Consumer`](super::consumer::Consumer),
/// [`Producer`](super::producer::Producer), [`Reader`](super::reader::Reader) and
/// [`TransactionalProducer`](super::transaction::TransactionalProducer) do.
///
/// ```
/// use formline_core::Client;
///
/// let properties = [("socket.timeout.ms".to_owned(), "5000".to_owned())];
/// let client = Client::new("kafka-1:9092,kafka-2:9092", properties.into());
/// assert_eq!(client.bootstrap(), "kafka-1:9092,kafka-2:9092");
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    bootstrap: String,
    properties: BTreeMap<String, String>,
}

/// Why a client could not be created or did not get an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A librdkafka property has an unknown name or an invalid value. Stop: the operator must
    /// correct it.
    #[error("invalid kafka property: {0}")]
    Property(#[source] KafkaError),
    /// The topic does not exist, or does not exist yet. Retry, or correct its name.
    #[error("kafka has no topic {0}; `formline topics apply` creates the topics of the apps")]
    NoTopic(String),
    /// Kafka did not answer in time. Retry.
    #[error("kafka at {bootstrap} does not answer: {source}")]
    Unreachable {
        /// The addresses that were tried.
        bootstrap: String,
        /// The error of librdkafka.
        source: KafkaError,
    },
}

/// Maximum size of a record that a producer accepts, in bytes.
///
/// It exceeds the default of a topic (1,048,588), so that the topic's `max.message.bytes` decides.
/// A dead letter is larger than the original record.
pub(crate) const RECORD_BYTES: &str = "2097152";

/// Maximum time for the answer to a metadata or offset request.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Properties that the guarantees depend on, or that differ between clients.
const RESERVED: [&str; 13] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "partition.assignment.strategy",
    "partitioner",
    "transactional.id",
];

// === impl Client ===

impl Client {
    /// Creates a client for `HOST:PORT,…`. `properties` override the defaults of Formline, for
    /// instance `socket.timeout.ms`.
    pub fn new(bootstrap: impl Into<String>, properties: BTreeMap<String, String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            properties,
        }
    }

    /// Returns the addresses of the bootstrap brokers.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the configuration that all clients share.
    ///
    /// With librdkafka's default `reconnect.backoff.max.ms` of 10 s, a process may stay idle for
    /// up to 10 s after Kafka has returned.
    pub(crate) fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "formline")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.fast.interval.ms", "100")
            .set("socket.keepalive.enable", "true")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Returns the configuration that all producers share: every in-sync replica acknowledges, and
    /// a retry does not write a record twice.
    pub(crate) fn producing(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", RECORD_BYTES)
            .set("partitioner", "murmur2_random");
        config
    }

    /// Creates a librdkafka client. The properties of the operator override `config`.
    pub(crate) fn open<C, T: FromClientConfigAndContext<C>>(
        &self,
        mut config: ClientConfig,
        context: C,
    ) -> Result<T, ClientError>
    where
        C: rdkafka::ClientContext,
    {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
            .create_with_context(context)
            .map_err(ClientError::Property)
    }

    pub(crate) fn unreachable(&self, source: KafkaError) -> ClientError {
        ClientError::Unreachable {
            bootstrap: self.bootstrap.clone(),
            source,
        }
    }

    /// Converts the error of a request about a topic.
    pub(crate) fn topic_error(&self, topic: &str, error: KafkaError) -> ClientError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => ClientError::NoTopic(topic.to_owned()),
            _ => self.unreachable(error),
        }
    }
}

/// Returns problem and remedy if an operator cannot set this librdkafka property: because it is
/// reserved, unknown, or has a value that this build of librdkafka rejects.
pub(crate) fn check_property(name: &str, value: &str) -> Option<(String, String)> {
    if RESERVED.contains(&name) {
        let problem = format!("`{name}` is set by formline, because its guarantees depend on it");
        return Some((problem, "remove it".to_owned()));
    }
    let error = ClientConfig::new()
        .set(name, value)
        .create_native_config()
        .err()?;
    let problem = match error {
        KafkaError::ClientConfig(_, problem, ..) => problem,
        other => other.to_string(),
    };
    let remedy =
        "look it up in librdkafka's CONFIGURATION.md; this build has no TLS and no SASL".to_owned();
    Some((problem, remedy))
}

/// Whether Kafka rejects a record because of its content, so that a retry cannot succeed. Kafka
/// rejects a batch as a whole: another record of the batch may be the cause.
pub(crate) fn is_rejected(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidRecord
                | Code::InvalidDifferentRecord
                | Code::InvalidMessage
                | Code::InvalidTimestamp
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_can_set_only_properties_that_affect_no_guarantee() {
        assert_eq!(check_property("socket.timeout.ms", "5000"), None);
        for (name, value, problem) in [
            ("acks", "1", "guarantees"),
            ("security.protokol", "ssl", "No such configuration property"),
            ("security.protocol", "ssl", "OpenSSL not available"),
            ("socket.timeout.ms", "soon", "Invalid value"),
        ] {
            let (found, _) = check_property(name, value).expect("the property is rejected");
            assert!(found.contains(problem), "{name}: {found}");
        }
    }
}
