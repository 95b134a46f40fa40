//! The Kafka cluster that both sides use: a running one, or one that is started for the bench.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::child::{Child, free_addresses};

/// A Kafka cluster.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) bootstrap: String,
    /// Version or address, for the report.
    pub(crate) description: String,
    /// The process, if the bench started it.
    pub(crate) node: Option<Child>,
}

/// The lag of a consumer group behind the end that a topic had when the value was created. The
/// records must not have been written in transactions, because their markers would count.
pub(crate) struct Backlog {
    consumer: BaseConsumer,
    topic: String,
    ends: Vec<(i32, i64)>,
}

/// The script that installs and runs Kafka, relative to the root of the repository.
const SCRIPT: &str = "deploy/kafka/kafka";
/// Timeout of a request to Kafka.
const TIMEOUT: Duration = Duration::from_secs(10);

// === impl Kafka ===

impl Kafka {
    /// A running cluster.
    pub(crate) fn at(bootstrap: &str) -> Self {
        let description = format!("at {bootstrap}, not started by the bench");
        Self {
            bootstrap: bootstrap.to_owned(),
            description,
            node: None,
        }
    }

    /// Starts a new node with its data in `folder`. Takes a few seconds, or a minute to download
    /// Kafka the first time.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let script = Path::new(SCRIPT).canonicalize();
        let script = script.with_context(|| {
            format!("{SCRIPT} does not exist; run this in the root of the repository")
        })?;
        let installed = tokio::process::Command::new(&script)
            .arg("install")
            .stdout(Stdio::null())
            .status()
            .await?;
        ensure!(installed.success(), "failed to install Kafka ({installed})");
        let data = folder.join("kafka");
        let [address] = free_addresses()?;
        let mut run = Command::new(&script);
        run.arg("run").arg(&data).arg(address.port().to_string());
        let mut node = Child::start("kafka", &mut run, folder)?;
        let mut description = String::new();
        node.wait_until(async || {
            let status = tokio::process::Command::new(&script)
                .arg("status")
                .arg(&data)
                .output()
                .await;
            description = status
                .map(|status| version(&status.stdout))
                .unwrap_or_default();
            !description.is_empty()
        })
        .await?;
        Ok(Self {
            bootstrap: address.to_string(),
            description,
            node: Some(node),
        })
    }
}

/// The sum of the end offsets of all partitions, which is the number of records that were ever
/// written, provided that none was written in a transaction. Blocks the thread.
pub(crate) fn end_offset(bootstrap: &str, topic: &str) -> Result<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()?;
    Ok(ends(&consumer, topic)?
        .into_iter()
        .map(|(_, end)| end)
        .sum())
}

/// The end offset of each partition.
fn ends(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
        .map(rdkafka::metadata::MetadataPartition::id)
        .collect();
    ensure!(!partitions.is_empty(), "the topic {topic} does not exist");
    let end = |partition| {
        let found = consumer.fetch_watermarks(topic, partition, TIMEOUT);
        let (_, end) =
            found.with_context(|| format!("failed to get the end of {topic} {partition}"))?;
        Ok((partition, end))
    };
    partitions.into_iter().map(end).collect()
}

// === impl Backlog ===

impl Backlog {
    /// The backlog of the records that are in the topic now. Blocks the thread, like `remaining`.
    pub(crate) fn open(bootstrap: &str, group: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            // With read_committed, the request would wait for open transactions.
            .set("isolation.level", "read_uncommitted")
            .create()?;
        Ok(Self {
            ends: ends(&consumer, topic)?,
            topic: topic.to_owned(),
            consumer,
        })
    }

    /// The number of records that the group has not committed.
    pub(crate) fn remaining(&self) -> Result<i64> {
        let mut requested = TopicPartitionList::with_capacity(self.ends.len());
        for (partition, _) in &self.ends {
            requested.add_partition(&self.topic, *partition);
        }
        let committed = self.consumer.committed_offsets(requested, TIMEOUT)?;
        let remaining = self.ends.iter().map(|(partition, end)| {
            let found = committed.find_partition(&self.topic, *partition);
            match found.map(|found| found.offset()) {
                Some(Offset::Offset(next)) => (end - next).max(0),
                // The group has committed no offset in this partition.
                _ => *end,
            }
        });
        Ok(remaining.sum())
    }
}

/// The version in `kafka: 4.3.1 answers on …`; empty until Kafka responds.
fn version(status: &[u8]) -> String {
    let status = String::from_utf8_lossy(status);
    let version = status
        .strip_prefix("kafka: ")
        .and_then(|rest| rest.split_once(" answers on "));
    version
        .map(|(version, _)| format!("{version}, one node, started for this run"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_known_once_kafka_responds() {
        let status =
            b"kafka: 4.3.1 answers on 127.0.0.1:9092 (process 1, data and log in /tmp/k)\n";
        assert_eq!(version(status), "4.3.1, one node, started for this run");
        assert_eq!(version(b"kafka: process 1 is starting in /tmp/k\n"), "");
        assert_eq!(version(b""), "");
    }
}
