//! How every Kafka client of the line is set up. `Client` is the one place that knows librdkafka's properties.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
};

/// Where Kafka is and what the operator adds to librdkafka's settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    bootstrap: String,
    properties: BTreeMap<String, String>,
}

/// A client that could not be made or reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A property has no such name or value. Stop: only the operator can mend it.
    #[error("a kafka property is wrong: {0}")]
    Property(#[source] KafkaError),
    /// There is no such topic, at least not yet. Retry, or correct its name.
    #[error("kafka has no topic {0}; `formline topics apply` creates what the apps declare")]
    NoTopic(String),
    /// No answer came in time. Retry.
    #[error("kafka at {bootstrap} does not answer: {source}")]
    Unreachable {
        /// The addresses that were tried.
        bootstrap: String,
        /// What librdkafka says.
        source: KafkaError,
    },
}

/// Bytes that a producer takes in one record. It lies above what a topic takes by default (1,048,588), so that Kafka
/// decides by the topic's `max.message.bytes`; a dead letter is larger than the record that it was.
pub(crate) const RECORD_BYTES: &str = "2097152";

/// The longest wait for an answer to a question about the cluster.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

// === impl Client ===

impl Client {
    /// Takes `HOST:PORT,…` and librdkafka properties that win over our own, such as `socket.timeout.ms`.
    pub fn new(bootstrap: impl Into<String>, properties: BTreeMap<String, String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            properties,
        }
    }

    /// The addresses of the first brokers to ask.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// What all clients have in common. The values follow from measurements:
    /// librdkafka's own `reconnect.backoff.max.ms` of 10 s makes a line wait up to 10 s after Kafka has returned.
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

    /// What all producers have in common: acknowledged by every in-sync replica, and never twice by a resend.
    pub(crate) fn producing(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", RECORD_BYTES)
            .set("partitioner", "murmur2_random");
        config
    }

    /// Makes a client, with the operator's properties over ours.
    pub(crate) fn open<C, T: FromClientConfigAndContext<C>>(
        &self,
        mut config: ClientConfig,
        context: C,
    ) -> Result<T, Error>
    where
        C: rdkafka::ClientContext,
    {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.create_with_context(context).map_err(Error::Property)
    }

    pub(crate) fn unreachable(&self, source: KafkaError) -> Error {
        Error::Unreachable {
            bootstrap: self.bootstrap.clone(),
            source,
        }
    }
}

/// Properties that the guarantees stand on, or that differ from client to client.
const OWNED: [&str; 13] = [
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

/// Problem and remedy, if an operator cannot set this librdkafka property: it is ours, there is none of that name, or the
/// value is not one that this build knows.
pub(crate) fn check_property(name: &str, value: &str) -> Option<(String, String)> {
    if OWNED.contains(&name) {
        let problem = format!("`{name}` is set by formline, whose guarantees stand on it");
        return Some((problem, "remove it".to_owned()));
    }
    let error = ClientConfig::new()
        .set(name, value)
        .create_native_config()
        .err()?;
    let said = match error {
        KafkaError::ClientConfig(_, said, ..) => said,
        other => other.to_string(),
    };
    let remedy =
        "look it up in librdkafka's CONFIGURATION.md; this build has no TLS and no SASL".to_owned();
    Some((said, remedy))
}

/// Whether Kafka refuses a record for what it is, so that sending it again is of no use. A batch is refused as a whole:
/// the culprit may be another record of it.
pub(crate) fn is_refusal(error: &KafkaError) -> bool {
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
    fn only_properties_that_change_no_guarantee_can_be_set() {
        assert_eq!(check_property("socket.timeout.ms", "5000"), None);
        for (name, value, problem) in [
            ("acks", "1", "guarantees"),
            ("security.protokol", "ssl", "No such configuration property"),
            ("security.protocol", "ssl", "OpenSSL not available"),
            ("socket.timeout.ms", "soon", "Invalid value"),
        ] {
            let (found, _) = check_property(name, value).expect("it is refused");
            assert!(found.contains(problem), "{name}: {found}");
        }
    }
}
