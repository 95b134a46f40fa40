//! The dead-letter topic of a step or sink, read as a ledger: letters, and the settlements behind them that close them.
//! A letter itself never changes. Who writes settlements is `settlement`.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use crate::{
    kafka::client::{self, Client},
    dead_letter::headers,
    event,
    dead_letter::letter::Letter,
    kafka::reader::{From, Range, Reader},
    dead_letter::replay::{Settled, Settlement},
    kafka::topic,
};

/// The dead letters of one step or sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetters {
    /// App that declares the step or sink.
    pub app: String,
    /// Name of the step or sink.
    pub step: String,
    /// What it reads: a letter can be replayed only to one of these topics.
    pub topics: Vec<String>,
}

/// What a dead-letter topic held when it was read: an entry of the index for each closed letter, no values.
#[derive(Debug)]
pub struct Ledger {
    letters: DeadLetters,
    closed: BTreeMap<i64, Closed>,
    /// Offset behind the last record.
    end: i64,
}

/// Why a letter is not open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Closed {
    /// It was settled.
    Settled(Settled),
    /// It repeats an earlier letter: a sink that dies after it has parked a record parks it again.
    Repeated,
}

/// Reads letters one by one. It waits while Kafka is away.
#[derive(Debug)]
pub struct Letters {
    letters: DeadLetters,
    reader: Reader,
    end: i64,
}

/// Between two looks whether the end is reached.
const WAIT: Duration = Duration::from_millis(100);

// === impl DeadLetters ===

impl DeadLetters {
    /// Their topic.
    pub fn topic(&self) -> String {
        topic::dead_letter(&self.app, &self.step)
    }

    /// The consumer group that parks them.
    pub fn group(&self) -> String {
        topic::group(&self.app, &self.step)
    }
}

// === impl Ledger ===

impl Ledger {
    /// Reads the whole topic. Blocks the thread.
    pub fn read(client: &Client, letters: DeadLetters) -> Result<Self, client::Error> {
        let (mut closed, mut known, mut end) = (BTreeMap::new(), HashSet::new(), 0);
        // All partitions, although there is one: thus a topic that is missing is told as such.
        let mut reader = Reader::open(client, &letters.topic(), &[], From::Beginning)?;
        reader.read_to_end(
            || true,
            |record| {
                if record.partition.number != dead_letter::PARTITION {
                    return;
                }
                let offset = record.offset;
                end = offset + 1;
                if let Some(settlement) = Settlement::read(&record) {
                    closed.insert(settlement.letter, Closed::Settled(settlement.settled));
                } else if let Some(letter) = Letter::read(&letters.app, &letters.step, record) {
                    // A place alone would not do: a topic that is deleted and made again counts its offsets anew.
                    let id = letter.event_id().map(<[u8]>::to_vec);
                    if !known.insert((letter.place, id)) {
                        closed.insert(offset, Closed::Repeated);
                    }
                }
            },
        )?;
        Ok(Self {
            letters,
            closed,
            end,
        })
    }

    /// Whose letters they are.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.letters
    }

    /// Why the letter at an offset is not open; none if it is.
    pub fn closed(&self, offset: i64) -> Option<&Closed> {
        self.closed.get(&offset)
    }

    pub(crate) fn close(&mut self, offset: i64, settled: Settled) {
        self.closed.insert(offset, Closed::Settled(settled));
    }

    /// All letters from an offset on, oldest first, closed ones too.
    pub fn letters(&self, client: &Client, from: i64) -> Result<Letters, client::Error> {
        let range = Range {
            partition: dead_letter::PARTITION,
            from: From::Offset(from),
            until: Some(self.end),
        };
        Ok(Letters {
            letters: self.letters.clone(),
            reader: Reader::open_ranges(client, &self.letters.topic(), vec![range])?,
            end: self.end,
        })
    }

    /// The letter at an offset, open or not. Blocks the thread.
    pub fn find(&self, client: &Client, offset: i64) -> Result<Option<Letter>, client::Error> {
        let first = self.letters(client, offset)?.next().transpose()?;
        Ok(first.filter(|letter| letter.id.offset == offset))
    }
}

// === impl Letters ===

impl Iterator for Letters {
    type Item = Result<Letter, client::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.reader.is_at_end() {
            let record = match self.reader.next(WAIT) {
                Ok(Some(record)) if record.offset < self.end => record,
                Ok(_) => continue,
                Err(error) => return Some(Err(error)),
            };
            let DeadLetters { app, step, .. } = &self.letters;
            if let Some(letter) = Letter::read(app, step, record) {
                return Some(Ok(letter));
            }
        }
        None
    }
}

// === impl Closed ===

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settled(Settled { how, time }) => {
                write!(f, "was {how} at {}", event::format_time(*time))
            }
            Self::Repeated => f.write_str("repeats an earlier dead letter"),
        }
    }
}
