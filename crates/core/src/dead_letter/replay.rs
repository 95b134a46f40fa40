//! What becomes of dead letters: replayed to the step or sink that gave them up, or discarded. Each is settled once,
//! whatever crashes and whoever else is at it.

use jiff::Timestamp;

use crate::{
    kafka::client::{self, Client},
    dead_letter::headers,
    event::{self, header},
    dead_letter::index::{Closed, DeadLetters, Ledger},
    dead_letter::letter::{Letter, LetterId},
    kafka::record::{Headers, Outgoing, Record},
    kafka::transaction::{self, Transaction, Transactions},
};

/// Settles letters of one step or sink.
///
/// It has a transactional id that all of them share. Opening a second one therefore cuts the first one off (KIP-98),
/// before the second reads what is settled: of two that settle the same letter one fails, and nothing is written twice.
#[derive(Debug)]
pub struct Settler {
    ledger: Ledger,
    transactions: Transactions,
}

/// How and when a letter was settled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settled {
    /// How.
    pub how: How,
    /// When.
    pub time: Timestamp,
}

/// What is done with a letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// The record was written again.
    Replayed,
    /// Nobody will see it again.
    Discarded,
}

/// The record that closes a letter. It lies behind it in the same topic and has no value.
#[derive(Debug)]
pub(crate) struct Settlement {
    /// Offset of the letter.
    pub(crate) letter: i64,
    pub(crate) settled: Settled,
}

/// Why a letter was not settled. Nothing was written, as far as anyone can tell: look whether it is still open.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is closed. Stop.
    #[error("{letter} {why}")]
    Closed {
        /// The letter.
        letter: LetterId,
        /// What closed it.
        why: Closed,
    },
    /// The step or sink does not read the topic any more, so nobody would see the replay. Discard it, or stop.
    #[error("{letter} cannot be replayed: {}/{} does not read {topic} any more", .letter.app, .letter.step)]
    NotRead {
        /// The letter.
        letter: LetterId,
        /// Where its record came from.
        topic: String,
    },
    /// Somebody else has begun to settle letters of this step or sink. Retry when they are done.
    #[error("somebody else settles dead letters of {app}/{step}; try again when they are done")]
    Busy {
        /// The app.
        app: String,
        /// Its step or sink.
        step: String,
    },
    /// Kafka does not take the record again, which is a little larger now. Raise its topic's `max.message.bytes`.
    #[error("{letter} cannot be replayed: {source}; raise max.message.bytes of {topic}")]
    Refused {
        /// The letter.
        letter: LetterId,
        /// Where its record came from.
        topic: String,
        /// What Kafka says.
        source: Box<transaction::Error>,
    },
    /// Kafka failed or was too slow. Retry with a new `Settler`.
    #[error(transparent)]
    Transaction(transaction::Error),
    /// Kafka cannot be asked. Retry.
    #[error(transparent)]
    Client(#[from] client::Error),
}

const SETTLED: &str = "dead-letter-settled";
const SETTLEMENT: &str = "dead-letter-settlement";
const SETTLEMENT_TIME: &str = "dead-letter-settlement-time";

// === impl Settler ===

impl Settler {
    /// The letters that it settles, as they were when it began, and what it has settled since.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Cuts off whoever settles letters of this step or sink, and reads what is settled. Blocks the thread.
    pub fn open(client: &Client, letters: DeadLetters) -> Result<Self, Error> {
        let id = format!("{}.dead-letters", letters.group());
        let transactions = Transactions::open(client, &id, "").map_err(|error| match error {
            transaction::Error::Client(error) => Error::Client(error),
            error => Error::of(&letters, error),
        })?;
        Ok(Self {
            ledger: Ledger::read(client, letters)?,
            transactions,
        })
    }

    /// Writes the record of a letter again where it was: same partition, key, value, headers and id, for the group that
    /// gave it up alone. In one transaction with the settlement. Blocks the thread. After an error of Kafka this
    /// `Settler` is of no more use.
    pub fn replay(&mut self, letter: &Letter) -> Result<(), Error> {
        let topic = &letter.place.topic;
        let letters = self.ledger.dead_letters();
        if !letters.topics.contains(topic) {
            return Err(Error::NotRead {
                letter: letter.id.clone(),
                topic: topic.clone(),
            });
        }
        let mut headers = Headers::copied(letter.headers(), 2);
        if letter.event_id().is_none() {
            // What a record of a foreign producer has for an id is its first place (`event::identity`).
            headers = headers.with(header::ID, letter.place.to_string());
        }
        let record = Outgoing {
            topic,
            partition: Some(letter.place.partition),
            key: letter.key(),
            value: letter.value(),
            headers: headers.with(header::REPLAY_FOR, letters.group()),
            // Retention counts from now: with its first time Kafka could delete an old record before it is read. When
            // the submission was accepted stands in `ce_time`.
            timestamp_ms: None,
        };
        match self.settle(&letter.id, How::Replayed, |open| open.send(record)) {
            Err(Error::Transaction(source @ transaction::Error::Refused(_))) => {
                Err(Error::Refused {
                    letter: letter.id.clone(),
                    topic: topic.clone(),
                    source: Box::new(source),
                })
            }
            settled => settled,
        }
    }

    /// Closes a letter without a replay. Blocks the thread. After an error of Kafka this `Settler` is of no more use.
    pub fn discard(&mut self, letter: &Letter) -> Result<(), Error> {
        self.settle(&letter.id, How::Discarded, |_| Ok(()))
    }

    fn settle(
        &mut self,
        letter: &LetterId,
        how: How,
        fill: impl FnOnce(&mut Transaction<'_>) -> Result<(), transaction::Error>,
    ) -> Result<(), Error> {
        if let Some(why) = self.ledger.closed(letter.offset) {
            return Err(Error::Closed {
                letter: letter.clone(),
                why: why.clone(),
            });
        }
        let time = Timestamp::now();
        let settlement = Settlement {
            letter: letter.offset,
            settled: Settled { how, time },
        };
        let topic = self.ledger.dead_letters().topic();
        let transactions = &mut self.transactions;
        let write = || {
            let mut open = transactions.begin()?;
            fill(&mut open)?;
            open.send(settlement.outgoing(&topic))?;
            open.commit_records().map(drop)
        };
        write().map_err(|error| Error::of(self.ledger.dead_letters(), error))?;
        self.ledger.close(letter.offset, settlement.settled);
        Ok(())
    }
}

// === impl Settlement ===

impl Settlement {
    /// None if the record is no settlement. A parked settlement is none either, but a letter.
    pub(crate) fn read(record: &Record) -> Option<Self> {
        if record.header(dead_letter::header::STEP).is_some() {
            return None;
        }
        let how = match record.text_header(SETTLEMENT)? {
            "replayed" => How::Replayed,
            "discarded" => How::Discarded,
            _ => return None,
        };
        Some(Self {
            letter: record.text_header(SETTLED)?.parse().ok()?,
            settled: Settled {
                how,
                time: record.text_header(SETTLEMENT_TIME)?.parse().ok()?,
            },
        })
    }

    fn outgoing<'a>(&self, topic: &'a str) -> Outgoing<'a> {
        Outgoing {
            topic,
            partition: Some(dead_letter::PARTITION),
            key: None,
            value: None,
            headers: Headers::with_capacity(3)
                .with(SETTLED, self.letter.to_string())
                .with(SETTLEMENT, self.settled.how.to_string())
                .with(SETTLEMENT_TIME, event::format_time(self.settled.time)),
            timestamp_ms: None,
        }
    }
}

// === impl Error ===

impl Error {
    fn of(letters: &DeadLetters, error: transaction::Error) -> Self {
        match error {
            transaction::Error::Fenced { .. } => Self::Busy {
                app: letters.app.clone(),
                step: letters.step.clone(),
            },
            error => Self::Transaction(error),
        }
    }
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        })
    }
}
