//! How far the line has come: whether everything that was in Kafka at a moment has passed a chain of consumer groups.

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext},
    error::KafkaError,
    topic_partition_list::TopicPartitionListElem,
};

use crate::{
    kafka::client::{self, Client},
    kafka::reader::{failed, partition_numbers},
};

/// One stage of a chain: a consumer group and the topics that it reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stage {
    /// The group.
    pub group: String,
    /// Its input topics.
    pub topics: Vec<String>,
}

/// Asks Kafka for ends of topics and for what groups have committed. It joins no group.
pub struct Progress {
    client: Client,
    stages: Vec<(Stage, BaseConsumer)>,
}

/// Offsets by topic and partition, in the order in which they were asked for.
pub type Offsets = Vec<(String, i32, i64)>;

// === impl Progress ===

impl Progress {
    /// Watches the stages, first to last.
    pub fn open(client: &Client, stages: Vec<Stage>) -> Result<Self, client::Error> {
        let mut watched = Vec::with_capacity(stages.len());
        for stage in stages {
            let mut config = client.common();
            config
                .set("group.id", &stage.group)
                .set("enable.auto.commit", "false")
                // Read-committed would make the question wait for open transactions instead of answering it.
                .set("isolation.level", "read_uncommitted");
            watched.push((stage, client.open(config, DefaultConsumerContext)?));
        }
        Ok(Self {
            client: client.clone(),
            stages: watched,
        })
    }

    /// How many stages are watched.
    pub fn len(&self) -> usize {
        self.stages.len()
    }

    /// Whether no stage is watched.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// The present ends of the topics that stage `index` reads. Blocks the thread.
    pub fn ends(&self, index: usize) -> Result<Offsets, client::Error> {
        let extents = self.extents(index)?.into_iter();
        Ok(extents
            .map(|(topic, partition, _, end)| (topic, partition, end))
            .collect())
    }

    /// The same without partitions that are empty or have expired as a whole: there is nothing in them to pass, and a
    /// group that has never read them commits nothing. Blocks the thread.
    pub fn ends_to_pass(&self, index: usize) -> Result<Offsets, client::Error> {
        let extents = self.extents(index)?.into_iter();
        let held = extents.filter(|(_, _, low, end)| low < end);
        Ok(held
            .map(|(topic, partition, _, end)| (topic, partition, end))
            .collect())
    }

    /// Whether the group of stage `index` has committed everything before `ends`. Blocks the thread.
    pub fn has_passed(&self, index: usize, ends: &Offsets) -> Result<bool, client::Error> {
        if ends.is_empty() {
            return Ok(true);
        }
        let asked = ends.iter().map(|(topic, number, _)| (&**topic, *number));
        let committed = self.ask_committed(index, asked)?;
        let passed = ends.iter().all(|(topic, partition, end)| {
            let found = committed.find_partition(topic, *partition);
            // A group that has committed nothing has passed a partition that never held anything.
            *end == 0
                || matches!(found.map(|found| found.offset()), Some(Offset::Offset(next)) if next >= *end)
        });
        Ok(passed)
    }

    /// What the group of stage `index` has committed, without partitions of which it has committed nothing. Blocks the
    /// thread.
    pub fn committed(&self, index: usize) -> Result<Offsets, client::Error> {
        let (stage, consumer) = &self.stages[index];
        let mut all = Vec::new();
        for topic in &stage.topics {
            let numbers = partition_numbers(consumer, topic);
            let numbers = numbers.map_err(|error| failed(&self.client, topic, error))?;
            all.extend(numbers.into_iter().map(|number| (topic.as_str(), number)));
        }
        let committed = self.ask_committed(index, all.into_iter())?;
        let next = |found: TopicPartitionListElem<'_>| match found.offset() {
            Offset::Offset(next) => Some((found.topic().to_owned(), found.partition(), next)),
            _ => None,
        };
        Ok(committed.elements().into_iter().filter_map(next).collect())
    }

    fn ask_committed<'a>(
        &self,
        index: usize,
        partitions: impl Iterator<Item = (&'a str, i32)>,
    ) -> Result<TopicPartitionList, client::Error> {
        let mut asked = TopicPartitionList::new();
        for (topic, number) in partitions {
            asked.add_partition(topic, number);
        }
        let (_, consumer) = &self.stages[index];
        let committed = consumer.committed_offsets(asked, client::QUERY_TIMEOUT);
        committed.map_err(|error| self.client.unreachable(error))
    }

    /// Topic, partition, low watermark and end.
    fn extents(&self, index: usize) -> Result<Vec<(String, i32, i64, i64)>, client::Error> {
        let (stage, consumer) = &self.stages[index];
        let mut extents = Vec::new();
        let ask = |topic: &str| -> Result<Vec<(i32, i64, i64)>, KafkaError> {
            let numbers = partition_numbers(consumer, topic)?.into_iter();
            let extent = |number| {
                let found = consumer.fetch_watermarks(topic, number, client::QUERY_TIMEOUT);
                found.map(|(low, end)| (number, low, end))
            };
            numbers.map(extent).collect()
        };
        for topic in &stage.topics {
            let found = ask(topic).map_err(|error| failed(&self.client, topic, error))?;
            let named = |(number, low, end)| (topic.clone(), number, low, end);
            extents.extend(found.into_iter().map(named));
        }
        Ok(extents)
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("stages", &self.stages.len())
            .finish_non_exhaustive()
    }
}
