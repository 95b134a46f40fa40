//! The progress of consumer groups: whether everything that was in Kafka at some moment has passed
//! a chain of groups.

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext},
    error::KafkaError,
    topic_partition_list::TopicPartitionListElem,
};

use super::{
    client::{self, Client, ClientError},
    opaque::Opaque,
    reader::partition_numbers,
};

/// One stage of a chain: a consumer group and the topics that it reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stage {
    /// Name of the consumer group.
    pub group: String,
    /// The input topics of the group.
    pub topics: Vec<String>,
}

/// Queries the ends of topics and the committed offsets of consumer groups. It joins no group.
///
/// ```no_run
/// use formline_core::{
///     Client,
///     kafka::group_progress::{GroupProgress, Stage},
/// };
///
/// # fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let stage = Stage {
///     group: "formline.demo.rows".to_owned(),
///     topics: vec!["orders".to_owned()],
/// };
/// let progress = GroupProgress::open(client, vec![stage])?;
/// let ends = progress.ends_to_pass(0)?;
/// println!("everything is processed: {}", progress.has_passed(0, &ends)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GroupProgress {
    client: Client,
    stages: Vec<(Stage, Opaque<BaseConsumer>)>,
}

/// Topics, partitions and offsets, in the order of the query.
pub type PartitionOffsets = Vec<(String, i32, i64)>;

// === impl GroupProgress ===

impl GroupProgress {
    /// Opens a client for each stage. `stages` are in the order of the chain.
    pub fn open(client: &Client, stages: Vec<Stage>) -> Result<Self, ClientError> {
        let mut opened = Vec::with_capacity(stages.len());
        for stage in stages {
            let mut config = client.common();
            config
                .set("group.id", &stage.group)
                .set("enable.auto.commit", "false")
                // With `read_committed`, the query would wait for open transactions.
                .set("isolation.level", "read_uncommitted");
            let consumer = client.open(config, DefaultConsumerContext)?;
            opened.push((stage, Opaque(consumer)));
        }
        Ok(Self {
            client: client.clone(),
            stages: opened,
        })
    }

    /// Returns the number of stages.
    pub fn len(&self) -> usize {
        self.stages.len()
    }

    /// Returns whether there are no stages.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Returns the present ends of the topics that stage `index` reads. Blocks the thread.
    pub fn ends(&self, index: usize) -> Result<PartitionOffsets, ClientError> {
        let extents = self.extents(index)?.into_iter();
        Ok(extents
            .map(|(topic, partition, _, end)| (topic, partition, end))
            .collect())
    }

    /// Like [`ends`](Self::ends), without partitions that are empty or whose records have all
    /// expired: a group that has never read them commits nothing. Blocks the thread.
    pub fn ends_to_pass(&self, index: usize) -> Result<PartitionOffsets, ClientError> {
        let extents = self.extents(index)?.into_iter();
        let nonempty = extents.filter(|(_, _, low, end)| low < end);
        Ok(nonempty
            .map(|(topic, partition, _, end)| (topic, partition, end))
            .collect())
    }

    /// Returns whether the group of stage `index` has committed everything before `ends`. Blocks
    /// the thread.
    pub fn has_passed(&self, index: usize, ends: &PartitionOffsets) -> Result<bool, ClientError> {
        if ends.is_empty() {
            return Ok(true);
        }
        let partitions = ends.iter().map(|(topic, number, _)| (&**topic, *number));
        let committed = self.query_committed(index, partitions)?;
        let passed = ends.iter().all(|(topic, partition, end)| {
            let found = committed.find_partition(topic, *partition);
            // A group without a committed offset has passed a partition that never had a record.
            *end == 0
                || matches!(found.map(|found| found.offset()), Some(Offset::Offset(next)) if next >= *end)
        });
        Ok(passed)
    }

    /// Returns the committed offsets of the group of stage `index`, without partitions that have
    /// none. Blocks the thread.
    pub fn committed(&self, index: usize) -> Result<PartitionOffsets, ClientError> {
        let (stage, consumer) = &self.stages[index];
        let mut all = Vec::new();
        for topic in &stage.topics {
            let numbers = partition_numbers(consumer, topic);
            let numbers = numbers.map_err(|error| self.client.topic_error(topic, error))?;
            all.extend(numbers.into_iter().map(|number| (topic.as_str(), number)));
        }
        let committed = self.query_committed(index, all.into_iter())?;
        let next = |found: TopicPartitionListElem<'_>| match found.offset() {
            Offset::Offset(next) => Some((found.topic().to_owned(), found.partition(), next)),
            _ => None,
        };
        Ok(committed.elements().into_iter().filter_map(next).collect())
    }

    fn query_committed<'a>(
        &self,
        index: usize,
        partitions: impl Iterator<Item = (&'a str, i32)>,
    ) -> Result<TopicPartitionList, ClientError> {
        let mut list = TopicPartitionList::new();
        for (topic, number) in partitions {
            list.add_partition(topic, number);
        }
        let (_, consumer) = &self.stages[index];
        let committed = consumer.committed_offsets(list, client::QUERY_TIMEOUT);
        committed.map_err(|error| self.client.unreachable(error))
    }

    /// Returns topic, partition, low watermark and end of each input partition of stage `index`.
    fn extents(&self, index: usize) -> Result<Vec<(String, i32, i64, i64)>, ClientError> {
        let (stage, consumer) = &self.stages[index];
        let mut extents = Vec::new();
        let query = |topic: &str| -> Result<Vec<(i32, i64, i64)>, KafkaError> {
            let numbers = partition_numbers(consumer, topic)?.into_iter();
            let extent = |number| {
                let found = consumer.fetch_watermarks(topic, number, client::QUERY_TIMEOUT);
                found.map(|(low, end)| (number, low, end))
            };
            numbers.map(extent).collect()
        };
        for topic in &stage.topics {
            let found = query(topic).map_err(|error| self.client.topic_error(topic, error))?;
            let named = |(number, low, end)| (topic.clone(), number, low, end);
            extents.extend(found.into_iter().map(named));
        }
        Ok(extents)
    }
}
