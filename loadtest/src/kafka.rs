//! The Kafka that both sides use: one that is started for the bench, or one that was named.

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

/// A Kafka that can be reached.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) bootstrap: String,
    /// What is known of it, for the report.
    pub(crate) description: String,
    /// None if it is somebody else's.
    pub(crate) node: Option<Child>,
}

/// What a consumer group has before it: the records that were in a topic at one moment. They may not have been written in
/// transactions, whose markers would count.
pub(crate) struct Backlog {
    consumer: BaseConsumer,
    topic: String,
    ends: Vec<(i32, i64)>,
}

/// Relative to the repository's root.
const SCRIPT: &str = "deploy/kafka/kafka";
const TIMEOUT: Duration = Duration::from_secs(10);

// === impl Kafka ===

impl Kafka {
    /// One that runs already.
    pub(crate) fn at(bootstrap: &str) -> Self {
        let description = format!("at {bootstrap}, not started by the bench");
        Self {
            bootstrap: bootstrap.to_owned(),
            description,
            node: None,
        }
    }

    /// A fresh one with its data below `folder`; it takes a few seconds, the first time a minute to fetch it.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let script = Path::new(SCRIPT).canonicalize();
        let script = script
            .with_context(|| format!("{SCRIPT} is not here; run this at the repository's root"))?;
        let installed = tokio::process::Command::new(&script)
            .arg("install")
            .stdout(Stdio::null())
            .status()
            .await?;
        ensure!(
            installed.success(),
            "Kafka could not be installed ({installed})"
        );
        let data = folder.join("kafka");
        let [address] = free_addresses()?;
        let mut run = Command::new(&script);
        run.arg("run").arg(&data).arg(address.port().to_string());
        let mut node = Child::start("kafka", &mut run, folder)?;
        let mut description = String::new();
        node.until(async || {
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

/// The sum of the end offsets of all partitions: the number of records that were ever written, as long as none of
/// them was written in a transaction. Blocks the thread.
pub(crate) fn end_offset(bootstrap: &str, topic: &str) -> Result<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()?;
    Ok(ends(&consumer, topic)?
        .into_iter()
        .map(|(_, end)| end)
        .sum())
}

/// The end of each partition.
fn ends(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
        .map(rdkafka::metadata::MetadataPartition::id)
        .collect();
    ensure!(!partitions.is_empty(), "there is no topic {topic} in kafka");
    let end = |partition| {
        let found = consumer.fetch_watermarks(topic, partition, TIMEOUT);
        let (_, end) =
            found.with_context(|| format!("the end of {topic} {partition} is unknown"))?;
        Ok((partition, end))
    };
    partitions.into_iter().map(end).collect()
}

// === impl Backlog ===

impl Backlog {
    /// Everything that is in the topic now. Blocks the thread, as `left` does.
    pub(crate) fn open(bootstrap: &str, group: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            // Read-committed would wait for the open transaction instead of answering.
            .set("isolation.level", "read_uncommitted")
            .create()?;
        Ok(Self {
            ends: ends(&consumer, topic)?,
            topic: topic.to_owned(),
            consumer,
        })
    }

    /// Records that the group has not committed yet.
    pub(crate) fn left(&self) -> Result<i64> {
        let mut asked = TopicPartitionList::with_capacity(self.ends.len());
        for (partition, _) in &self.ends {
            asked.add_partition(&self.topic, *partition);
        }
        let committed = self.consumer.committed_offsets(asked, TIMEOUT)?;
        let left = self.ends.iter().map(|(partition, end)| {
            let found = committed.find_partition(&self.topic, *partition);
            match found.map(|found| found.offset()) {
                Some(Offset::Offset(next)) => (end - next).max(0),
                // It has committed nothing there.
                _ => *end,
            }
        });
        Ok(left.sum())
    }
}

/// From `kafka: 4.3.1 answers on …`; empty as long as it does not.
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
    fn the_version_is_known_once_it_answers() {
        let status =
            b"kafka: 4.3.1 answers on 127.0.0.1:9092 (process 1, data and log in /tmp/k)\n";
        assert_eq!(version(status), "4.3.1, one node, started for this run");
        assert_eq!(version(b"kafka: process 1 is starting in /tmp/k\n"), "");
        assert_eq!(version(b""), "");
    }
}
