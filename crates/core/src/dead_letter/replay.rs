//! Resolves dead letters: replays them to the step or sink that wrote them, or discards them. Each
//! is resolved once, even after a crash or with several operators.

use jiff::Timestamp;

use super::{
    index::{ClosedReason, DeadLetterIndex, Resolution, ResolutionRecord, Resolved},
    letter::{DeadLetter, DeadLetterId, DeadLetterOwner},
};
use crate::{
    event::header,
    kafka::{
        client::{Client, ClientError},
        record::{Headers, OutgoingRecord},
        transaction::{Transaction, TransactionError, TransactionalProducer},
    },
};

/// Resolves the dead letters of one step or sink.
///
/// All replayers of a step or sink share one transactional id. Opening one therefore fences the
/// previous one (KIP-98) before it reads the resolved dead letters: if two of them resolve the same
/// dead letter, one fails, and nothing is written twice.
#[derive(Debug)]
pub struct Replayer {
    index: DeadLetterIndex,
    producer: TransactionalProducer,
}

/// Why a dead letter was not resolved. Probably nothing was written; read the index again to find
/// out whether the dead letter is still open.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The dead letter is closed. Stop.
    #[error("{letter} {why}")]
    Closed {
        /// Name of the dead letter.
        letter: DeadLetterId,
        /// Why it is closed.
        why: ClosedReason,
    },
    /// The step or sink no longer reads the topic and would not process the replay. Discard the
    /// dead letter, or stop.
    #[error("{letter} cannot be replayed: {}/{} no longer reads {topic}", .letter.app, .letter.step)]
    NotRead {
        /// Name of the dead letter.
        letter: DeadLetterId,
        /// Topic of the original record.
        topic: String,
    },
    /// Another process has started to resolve dead letters of this step or sink. Retry when it has
    /// finished.
    #[error("another process resolves dead letters of {app}/{step}; retry when it has finished")]
    Busy {
        /// Name of the app.
        app: String,
        /// Name of the step or sink.
        step: String,
    },
    /// Kafka rejected the replay, which is slightly larger than the original record. Increase
    /// `max.message.bytes` of its topic.
    #[error("{letter} cannot be replayed: {source}; increase max.message.bytes of {topic}")]
    Rejected {
        /// Name of the dead letter.
        letter: DeadLetterId,
        /// Topic of the original record.
        topic: String,
        /// The error of Kafka.
        source: Box<TransactionError>,
    },
    /// Kafka failed or was too slow. Retry with a new [`Replayer`].
    #[error(transparent)]
    Transaction(TransactionError),
    /// Kafka could not be queried. Retry.
    #[error(transparent)]
    Client(#[from] ClientError),
}

// === impl Replayer ===

impl Replayer {
    /// Returns the index as it was when this replayer was opened, updated by its own resolutions.
    pub fn index(&self) -> &DeadLetterIndex {
        &self.index
    }

    /// Fences the previous replayer of this step or sink, then reads the index. Blocks the thread.
    pub fn open(client: &Client, owner: DeadLetterOwner) -> Result<Self, ReplayError> {
        let id = format!("{}.dead-letters", owner.group());
        let producer =
            TransactionalProducer::open(client, &id, "").map_err(|error| match error {
                TransactionError::Client(error) => ReplayError::Client(error),
                error => ReplayError::new(&owner, error),
            })?;
        Ok(Self {
            index: DeadLetterIndex::read(client, owner)?,
            producer,
        })
    }

    /// Writes the record of a dead letter to its original partition again, with the same key,
    /// value, headers and id. Only the consumer group that dead-lettered it processes the replay.
    ///
    /// The same transaction writes the resolution. Blocks the thread. After an error of Kafka, this
    /// replayer is unusable.
    pub fn replay(&mut self, letter: &DeadLetter) -> Result<(), ReplayError> {
        let topic = &letter.position.topic;
        let owner = self.index.owner();
        if !owner.topics.contains(topic) {
            return Err(ReplayError::NotRead {
                letter: letter.id.clone(),
                topic: topic.clone(),
            });
        }
        let mut headers = Headers::copied(letter.headers(), 2);
        if letter.event_id().is_none() {
            // The identity of a record without an id is its original position: `event::identity`.
            headers = headers.with(header::ID, letter.position.to_string());
        }
        let record = OutgoingRecord {
            topic,
            partition: Some(letter.position.partition),
            key: letter.key(),
            value: letter.value(),
            headers: headers.with(header::REPLAY_FOR, owner.group()),
            // The retention counts from now: with the original timestamp, Kafka could delete an old
            // record before it is read. `ce_time` still has the time of the submission.
            timestamp_ms: None,
        };
        let fill = |transaction: &mut Transaction<'_>| transaction.send(record);
        match self.resolve(&letter.id, Resolution::Replayed, fill) {
            Err(ReplayError::Transaction(source @ TransactionError::Rejected(_))) => {
                Err(ReplayError::Rejected {
                    letter: letter.id.clone(),
                    topic: topic.clone(),
                    source: Box::new(source),
                })
            }
            resolved => resolved,
        }
    }

    /// Closes a dead letter without a replay. Blocks the thread. After an error of Kafka, this
    /// replayer is unusable.
    pub fn discard(&mut self, letter: &DeadLetter) -> Result<(), ReplayError> {
        self.resolve(&letter.id, Resolution::Discarded, |_| Ok(()))
    }

    fn resolve(
        &mut self,
        letter: &DeadLetterId,
        resolution: Resolution,
        fill: impl FnOnce(&mut Transaction<'_>) -> Result<(), TransactionError>,
    ) -> Result<(), ReplayError> {
        if let Some(why) = self.index.closed(letter.offset) {
            return Err(ReplayError::Closed {
                letter: letter.clone(),
                why: why.clone(),
            });
        }
        let time = Timestamp::now();
        let record = ResolutionRecord {
            offset: letter.offset,
            resolved: Resolved { resolution, time },
        };
        let topic = self.index.owner().topic();
        let producer = &mut self.producer;
        let write = || {
            let mut transaction = producer.begin()?;
            fill(&mut transaction)?;
            transaction.send(record.outgoing(&topic))?;
            transaction.commit_records().map(drop)
        };
        write().map_err(|error| ReplayError::new(self.index.owner(), error))?;
        self.index.close(letter.offset, record.resolved);
        Ok(())
    }
}

// === impl ReplayError ===

impl ReplayError {
    fn new(owner: &DeadLetterOwner, error: TransactionError) -> Self {
        match error {
            TransactionError::Fenced { .. } => Self::Busy {
                app: owner.app.clone(),
                step: owner.step.clone(),
            },
            error => Self::Transaction(error),
        }
    }
}
