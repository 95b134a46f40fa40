//! The index of a dead-letter topic: which dead letters are closed, and why. The other ones are
//! open.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use jiff::Timestamp;

use super::{
    headers::{self, DEAD_LETTER_PARTITION},
    letter::{DeadLetter, DeadLetterOwner},
};
use crate::{
    event,
    kafka::{
        client::{Client, ClientError},
        reader::{PartitionRange, Reader, StartOffset},
        record::{Headers, OutgoingRecord, Record},
    },
};

/// The contents of a dead-letter topic when it was read. It has one entry for each closed dead
/// letter, and contains no values.
///
/// ```no_run
/// use formline_core::{
///     Client,
///     dead_letter::{index::DeadLetterIndex, letter::DeadLetterOwner},
/// };
///
/// # fn example(client: &Client, owner: DeadLetterOwner)
/// #     -> Result<(), Box<dyn std::error::Error>> {
/// let index = DeadLetterIndex::read(client, owner)?;
/// for letter in index.dead_letters(client, 0)? {
///     let letter = letter?;
///     if index.closed(letter.id.offset).is_none() {
///         println!("{}: {}", letter.id, letter.detail());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DeadLetterIndex {
    owner: DeadLetterOwner,
    closed: BTreeMap<i64, ClosedReason>,
    /// Offset after the last record.
    end: i64,
}

/// Why a dead letter is closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClosedReason {
    /// It was replayed or discarded.
    Resolved(Resolved),
    /// It repeats an earlier dead letter: a sink that crashes after it has written a dead letter
    /// writes it again.
    Duplicate,
}

/// The resolution of a dead letter and its time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolved {
    /// What was done.
    pub resolution: Resolution,
    /// When it was done.
    pub time: Timestamp,
}

/// What is done with a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// The record is written to its input topic again.
    Replayed,
    /// The record is not processed.
    Discarded,
}

/// Reads dead letters one by one. It waits while Kafka is unreachable.
#[derive(Debug)]
pub struct DeadLetterReader {
    owner: DeadLetterOwner,
    reader: Reader,
    end: i64,
}

/// The record that closes a dead letter. It follows the dead letter in the same topic and has no
/// value.
#[derive(Debug)]
pub(super) struct ResolutionRecord {
    /// Offset of the dead letter.
    pub(super) offset: i64,
    pub(super) resolved: Resolved,
}

/// Interval between two checks whether the end is reached.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

// === impl DeadLetterIndex ===

impl DeadLetterIndex {
    /// Reads the whole topic. Blocks the thread.
    pub fn read(client: &Client, owner: DeadLetterOwner) -> Result<Self, ClientError> {
        let (mut closed, mut known, mut end) = (BTreeMap::new(), HashSet::new(), 0);
        // Opens all partitions, although there is only one, to get an error if the topic is
        // missing.
        let mut reader = Reader::open(client, &owner.topic(), &[], StartOffset::Beginning)?;
        reader.read_to_end(
            || true,
            |record| {
                if record.partition.number != DEAD_LETTER_PARTITION {
                    return;
                }
                let offset = record.offset;
                end = offset + 1;
                if let Some(resolution) = ResolutionRecord::from_record(&record) {
                    let resolved = ClosedReason::Resolved(resolution.resolved);
                    closed.insert(resolution.offset, resolved);
                } else if let Some(letter) =
                    DeadLetter::from_record(&owner.app, &owner.step, record)
                {
                    // The position alone is not enough: the offsets of a recreated topic start at
                    // 0.
                    let id = letter.event_id().map(<[u8]>::to_vec);
                    if !known.insert((letter.position, id)) {
                        closed.insert(offset, ClosedReason::Duplicate);
                    }
                }
            },
        )?;
        Ok(Self { owner, closed, end })
    }

    /// Returns the step or sink that wrote the dead letters.
    pub fn owner(&self) -> &DeadLetterOwner {
        &self.owner
    }

    /// Returns why the dead letter at `offset` is closed, or `None` if it is open.
    pub fn closed(&self, offset: i64) -> Option<&ClosedReason> {
        self.closed.get(&offset)
    }

    pub(super) fn close(&mut self, offset: i64, resolved: Resolved) {
        self.closed.insert(offset, ClosedReason::Resolved(resolved));
    }

    /// Returns all dead letters from offset `from` on, oldest first, open and closed ones.
    pub fn dead_letters(
        &self,
        client: &Client,
        from: i64,
    ) -> Result<DeadLetterReader, ClientError> {
        let range = PartitionRange {
            partition: DEAD_LETTER_PARTITION,
            from: StartOffset::Offset(from),
            until: Some(self.end),
        };
        Ok(DeadLetterReader {
            owner: self.owner.clone(),
            reader: Reader::open_ranges(client, &self.owner.topic(), vec![range])?,
            end: self.end,
        })
    }

    /// Returns the dead letter at `offset`, open or closed. Blocks the thread.
    pub fn find(&self, client: &Client, offset: i64) -> Result<Option<DeadLetter>, ClientError> {
        let first = self.dead_letters(client, offset)?.next().transpose()?;
        Ok(first.filter(|letter| letter.id.offset == offset))
    }
}

// === impl DeadLetterReader ===

impl Iterator for DeadLetterReader {
    type Item = Result<DeadLetter, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.reader.is_at_end() {
            let record = match self.reader.next(POLL_INTERVAL) {
                Ok(Some(record)) if record.offset < self.end => record,
                Ok(_) => continue,
                Err(error) => return Some(Err(error)),
            };
            let DeadLetterOwner { app, step, .. } = &self.owner;
            if let Some(letter) = DeadLetter::from_record(app, step, record) {
                return Some(Ok(letter));
            }
        }
        None
    }
}

// === impl ClosedReason ===

impl fmt::Display for ClosedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved(Resolved { resolution, time }) => {
                write!(f, "was {resolution} at {}", event::format_time(*time))
            }
            Self::Duplicate => f.write_str("repeats an earlier dead letter"),
        }
    }
}

// === impl Resolution ===

/// Writes the word that is stored in the header of a resolution record.
impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        })
    }
}

// === impl ResolutionRecord ===

impl ResolutionRecord {
    /// Returns `None` if the record is not a resolution record. A dead-lettered resolution record
    /// is a dead letter.
    fn from_record(record: &Record) -> Option<Self> {
        if record.header(headers::STEP).is_some() {
            return None;
        }
        let resolution = match record.text_header(headers::RESOLUTION)? {
            "replayed" => Resolution::Replayed,
            "discarded" => Resolution::Discarded,
            _ => return None,
        };
        Some(Self {
            offset: record.text_header(headers::RESOLVED_OFFSET)?.parse().ok()?,
            resolved: Resolved {
                resolution,
                time: record.text_header(headers::RESOLUTION_TIME)?.parse().ok()?,
            },
        })
    }

    pub(super) fn outgoing<'a>(&self, topic: &'a str) -> OutgoingRecord<'a> {
        OutgoingRecord {
            topic,
            partition: Some(DEAD_LETTER_PARTITION),
            key: None,
            value: None,
            headers: Headers::with_capacity(3)
                .with(headers::RESOLVED_OFFSET, self.offset.to_string())
                .with(headers::RESOLUTION, self.resolved.resolution.to_string())
                .with(
                    headers::RESOLUTION_TIME,
                    event::format_time(self.resolved.time),
                ),
            timestamp_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::record::Partition;

    #[test]
    fn resolution_records_keep_their_wire_form() {
        for (resolution, word) in [
            (Resolution::Replayed, "replayed"),
            (Resolution::Discarded, "discarded"),
        ] {
            let resolved = Resolved {
                resolution,
                time: Timestamp::UNIX_EPOCH,
            };
            let written = ResolutionRecord {
                offset: 17,
                resolved: resolved.clone(),
            };
            let outgoing = written.outgoing("demo.rows.dead-letter");
            let headers = [
                ("dead-letter-settled", "17"),
                ("dead-letter-settlement", word),
                ("dead-letter-settlement-time", "1970-01-01T00:00:00.000000Z"),
            ]
            .map(|(name, value)| (name, value.as_bytes()));
            for (name, value) in headers {
                assert_eq!(outgoing.headers.get(name), Some(value), "{name}");
            }
            let partition = Partition {
                topic: "demo.rows.dead-letter".into(),
                number: 0,
            };
            let record = Record::new(partition, 18, 0, None, None, &headers);
            let read = ResolutionRecord::from_record(&record).expect("a resolution record");
            assert_eq!((read.offset, read.resolved), (17, resolved));
        }
    }
}
