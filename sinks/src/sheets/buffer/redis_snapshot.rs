//! The state of the queue at one moment, as far as a flush needs it.

use std::collections::HashMap;

use formline_core::kafka::record::Partition;

use crate::sheets::log::row::RowKey;

/// The first rows by time and by offset, and how far each partition was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// `first_created_ms` of the checkpoint to which the snapshot belongs. For another tab it is
    /// void.
    pub(crate) tab: Option<i64>,
    /// The earliest rows in the order of the sheet, each with its score: its time in microseconds
    /// since 1970, within the range of scores.
    pub(crate) rows: Vec<(i64, QueuedRow)>,
    pub(crate) filled: Vec<FilledPartition>,
    /// Rows up to this time were held back long enough.
    pub(crate) held: Option<i64>,
    /// The queue was full, and is until half of its rows are written.
    pub(crate) is_full: bool,
}

/// Identifies a row in the queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct QueuedRow {
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    id: String,
}

/// How far a partition was read into the queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FilledPartition {
    pub(crate) partition: Partition,
    pub(crate) start: i64,
    pub(crate) due: Option<i64>,
    /// The rows with the lowest offsets. All other offsets before `known` are done; the offsets
    /// from `known` on are not in the snapshot.
    pub(crate) lowest: Vec<QueuedRow>,
    pub(crate) known: i64,
}

/// The name of a partition, whether the list has all of its rows, and the rows.
pub(super) type RawPartition = (String, bool, Vec<String>);

// === impl Snapshot ===

impl Snapshot {
    /// `None` if a part cannot be parsed. Leaving that part out would declare its offsets done.
    pub(super) fn read(state: &[String], rows: &[String], lowest: &[RawPartition]) -> Option<Self> {
        let state: HashMap<&str, &str> = pairs(state).collect();
        let number = |field: &str| state.get(field)?.parse::<i64>().ok();
        let row =
            |(member, time): (&str, &str)| Some((time.parse().ok()?, QueuedRow::read(member)?));
        let filled = lowest.iter().map(|(partition, is_all, rows)| {
            let next = number(&format!("next:{partition}"))?;
            let rows = rows.iter().map(|row| QueuedRow::read_by_offset(row));
            let lowest = rows.collect::<Option<Vec<_>>>()?;
            let seen = lowest.last().map(|row| row.offset + 1);
            Some(FilledPartition {
                start: number(&format!("start:{partition}"))?,
                due: number(&format!("due:{partition}")),
                known: seen.filter(|_| !is_all).unwrap_or(next),
                partition: read_partition(partition)?,
                lowest,
            })
        });
        Some(Self {
            tab: number("tab"),
            rows: pairs(rows).map(row).collect::<Option<_>>()?,
            filled: filled.collect::<Option<_>>()?,
            held: number("held"),
            is_full: state.contains_key("full"),
        })
    }

    /// The time up to which rows are due, in microseconds since 1970: every partition of the inputs
    /// has been read up to it, or the rows were held back long enough.
    pub(crate) fn due(&self, inputs: &[String]) -> Option<i64> {
        let is_read =
            |one: &&FilledPartition| inputs.iter().any(|input| **input == *one.partition.topic);
        let read = self.filled.iter().filter(is_read);
        let all = read.map(|one| one.due).min().flatten();
        all.max(self.held)
    }

    /// Every row of the snapshot, some of them twice.
    pub(crate) fn all_rows(&self) -> impl Iterator<Item = &QueuedRow> {
        let lowest = self.filled.iter().flat_map(|filled| &filled.lowest);
        self.rows.iter().map(|(_, row)| row).chain(lowest)
    }
}

// === impl QueuedRow ===

impl QueuedRow {
    pub(crate) fn of(key: &RowKey) -> Self {
        Self {
            partition: key.partition.clone(),
            offset: key.offset,
            id: key.id.clone(),
        }
    }

    /// The name of the row in the sorted set by time. Redis orders rows of the same time by this
    /// name, which begins with the id as [`RowKey`] does.
    pub(super) fn member(&self) -> String {
        let partition = name(&self.partition);
        format!("{}|{:020}|{partition}", self.id, self.offset)
    }

    /// The name of the row in the sorted set by offset, which orders rows by this name.
    pub(super) fn by_offset(&self) -> String {
        let partition = name(&self.partition);
        format!("{partition}|{:020}|{}", self.offset, self.id)
    }

    fn read(member: &str) -> Option<Self> {
        let mut parts = member.rsplitn(4, '|');
        let (topic, number, offset) = (parts.next()?, parts.next()?, parts.next()?);
        Self::from_parts(topic, number, offset, parts.next()?)
    }

    fn read_by_offset(row: &str) -> Option<Self> {
        let mut parts = row.splitn(4, '|');
        let (number, topic, offset) = (parts.next()?, parts.next()?, parts.next()?);
        Self::from_parts(topic, number, offset, parts.next()?)
    }

    fn from_parts(topic: &str, number: &str, offset: &str, id: &str) -> Option<Self> {
        Some(Self {
            partition: Partition {
                topic: topic.into(),
                number: number.parse().ok()?,
            },
            offset: offset.parse().ok()?,
            id: id.to_owned(),
        })
    }
}

/// The name of a partition in fields and in names of rows.
pub(super) fn name(partition: &Partition) -> String {
    format!("{}|{}", partition.number, partition.topic)
}

fn read_partition(name: &str) -> Option<Partition> {
    let (number, topic) = name.split_once('|')?;
    Some(Partition {
        topic: topic.into(),
        number: number.parse().ok()?,
    })
}

fn pairs(flat: &[String]) -> impl Iterator<Item = (&str, &str)> {
    flat.chunks_exact(2)
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
}
