//! What waits at a moment, as far as one flush needs to know.

use std::collections::HashMap;

use formline_core::record::Partition;

use super::super::row::Key;

/// The first rows by time and by offset, and how far all was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// `began` of the mark that it is true of: of another tab, nothing that it says is.
    pub(crate) tab: Option<i64>,
    /// The earliest rows in the order of the sheet, each with its time in microseconds since 1970, as far as a score goes.
    pub(crate) rows: Vec<(i64, Place)>,
    pub(crate) filled: Vec<Filled>,
    /// Rows until then were held back for long enough.
    pub(crate) held: Option<i64>,
    /// There was no room, and there will be when half of the rows are written.
    pub(crate) is_full: bool,
}

/// Where a row that waits lies in Kafka.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    id: String,
}

/// How far a partition was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Filled {
    pub(crate) partition: Partition,
    pub(crate) start: i64,
    pub(crate) due: Option<i64>,
    /// The rows with the lowest offsets. Before `known`, all others are done with; what lies behind was not looked at.
    pub(crate) lowest: Vec<Place>,
    pub(crate) known: i64,
}

/// A partition, whether these are all of its rows, and the rows.
pub(super) type Lowest = (String, bool, Vec<String>);

// === impl Look ===

impl Look {
    /// None if a part of it cannot be read. To leave that out would say that it is done with.
    pub(super) fn read(state: &[String], rows: &[String], lowest: &[Lowest]) -> Option<Self> {
        let state: HashMap<&str, &str> = pairs(state).collect();
        let number = |field: &str| state.get(field)?.parse::<i64>().ok();
        let row = |(member, time): (&str, &str)| Some((time.parse().ok()?, Place::read(member)?));
        let filled = lowest.iter().map(|(partition, is_all, places)| {
            let next = number(&format!("next:{partition}"))?;
            let places = places.iter().map(|place| Place::read_by_offset(place));
            let lowest = places.collect::<Option<Vec<_>>>()?;
            let seen = lowest.last().map(|place| place.offset + 1);
            Some(Filled {
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

    /// Rows that were submitted until then are due, in microseconds since 1970: every partition of the inputs has been read so
    /// far, or they have been held back for long enough.
    pub(crate) fn due(&self, inputs: &[String]) -> Option<i64> {
        let is_read = |one: &&Filled| inputs.iter().any(|input| **input == *one.partition.topic);
        let read = self.filled.iter().filter(is_read);
        let all = read.map(|one| one.due).min().flatten();
        all.max(self.held)
    }

    /// Every row that it names, some of them twice.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        let lowest = self.filled.iter().flat_map(|filled| &filled.lowest);
        self.rows.iter().map(|(_, place)| place).chain(lowest)
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn of(key: &Key) -> Self {
        Self {
            partition: key.partition.clone(),
            offset: key.offset,
            id: key.id.clone(),
        }
    }

    /// Its name among the rows. Those of one time stand in the order of their names, which begin with the id as `Key` does.
    pub(super) fn member(&self) -> String {
        let partition = name(&self.partition);
        format!("{}|{:020}|{partition}", self.id, self.offset)
    }

    /// Its name among the offsets, which stand in the order of their names.
    pub(super) fn by_offset(&self) -> String {
        let partition = name(&self.partition);
        format!("{partition}|{:020}|{}", self.offset, self.id)
    }

    fn read(member: &str) -> Option<Self> {
        let mut parts = member.rsplitn(4, '|');
        let (topic, number, offset) = (parts.next()?, parts.next()?, parts.next()?);
        Self::of_parts(topic, number, offset, parts.next()?)
    }

    fn read_by_offset(place: &str) -> Option<Self> {
        let mut parts = place.splitn(4, '|');
        let (number, topic, offset) = (parts.next()?, parts.next()?, parts.next()?);
        Self::of_parts(topic, number, offset, parts.next()?)
    }

    fn of_parts(topic: &str, number: &str, offset: &str, id: &str) -> Option<Self> {
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

/// A partition in the names of fields and rows.
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
