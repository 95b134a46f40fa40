//! What has happened to each record of a sink whose effect cannot be looked at from outside, such as an e-mail: one
//! topic, written around each attempt, read back when partitions are assigned.

mod outcomes;
mod past;

use std::{
    collections::{
        BTreeMap, HashMap,
        hash_map::Entry::{Occupied, Vacant},
    },
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use formline_core::{
    Client, Record, Shutdown,
    app::Sink,
    client,
    event::header,
    reader::{From, Range, Reader},
    record::{Headers, Outgoing, Partition},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::{outcomes::outcomes, past::Past};
use crate::{
    Error,
    attempt::{Attempt, Chain, Place},
    outbox::Outbox,
};

/// The journal of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    topic: Arc<str>,
    client: Client,
    outbox: Outbox,
}

/// One thing that has happened to a record.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) outcome: Outcome,
    /// Which attempt it is about, from 1.
    pub(crate) attempt: u32,
    /// Attempts before it of which nobody knows what came.
    pub(crate) doubts: u32,
    pub(crate) at: Timestamp,
    /// Why a record was given up: the code of its dead letter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// For people, and for what a kind of sink must know after a restart. It holds nothing of the submission.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The attempt begins. If nothing follows, nobody knows whether it had its effect.
    Attempting,
    /// It certainly had no effect, and is made again.
    Failed,
    /// It had no effect, or nobody knows, and the record waits elsewhere for the next one.
    PutOff,
    /// It had its effect. Final.
    Sent,
    /// It may or may not have had its effect, and is not repeated. Final.
    Uncertain,
    /// The record becomes a dead letter, right after this entry. Final.
    GivenUp,
}

/// An entry that was read back.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) chain: Chain,
    /// Where the record of the attempt lay.
    pub(crate) read: Place,
    pub(crate) entry: Entry,
}

/// The value of a record of the journal; its key is the id.
#[derive(Deserialize, Serialize)]
struct Written {
    record: Place,
    read: Place,
    #[serde(flatten)]
    entry: Entry,
}

/// How much earlier than the record an entry about it may seem to be, because clocks of different machines disagree.
const MARGIN: Duration = Duration::from_secs(15 * 60);

// === impl Journal ===

impl Journal {
    pub(crate) fn of(sink: &Sink, client: Client, outbox: Outbox) -> Self {
        Self {
            topic: sink.journal_topic().into(),
            client,
            outbox,
        }
    }

    /// Writes an entry about an attempt, for as long as Kafka is away. False if the shutdown came first.
    pub(crate) async fn write(&self, attempt: &Attempt, entry: Entry) -> Result<bool, Error> {
        let Chain { id, place } = attempt.chain();
        let written = Written {
            record: place,
            read: Place::of(&attempt.partition, attempt.offset),
            entry,
        };
        let value = serde_json::to_vec(&written).expect("an entry has only text and numbers");
        let written = self
            .outbox
            .put(|| self.outgoing(attempt, &id, &value))
            .await;
        written.map_err(|source| Error::Journal {
            topic: self.topic.to_string(),
            source,
        })
    }

    /// It lies in the partition of the same number as the record that was read: who is assigned that one reads it back.
    fn outgoing<'a>(&'a self, attempt: &Attempt, id: &'a [u8], value: &'a [u8]) -> Outgoing<'a> {
        let copied = [header::ID, header::SOURCE, header::TIME, header::ORIGIN];
        let headers = copied.into_iter().filter_map(|name| {
            let value = attempt.record.header(name)?;
            Some((name, value))
        });
        Outgoing {
            topic: &self.topic,
            partition: Some(attempt.partition.number),
            key: Some(id),
            value: Some(value),
            headers: Headers::copied(headers, 0),
            timestamp_ms: None,
        }
    }

    /// What the journal says of records from these offsets on; without an offset, of all in the partition. `memory` is how
    /// far back from now it keeps all entries at least. If the task is dropped, reading ends soon after.
    pub(crate) async fn read(
        &self,
        next: Vec<(Partition, Option<i64>)>,
        memory: Duration,
    ) -> Result<Past, Error> {
        let wanted = Arc::new(());
        let is_wanted = Arc::downgrade(&wanted);
        let journal = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let proceed = || is_wanted.strong_count() > 0 && !journal.shutdown().has_begun();
            journal.read_blocking(&next, memory, proceed)
        });
        let past = read.await;
        let past = past.expect("reading does not panic, and the runtime outlives the sink")?;
        match past.is_whole() {
            true => Ok(past),
            false => Err(Error::JournalTooLong(self.topic.to_string())),
        }
    }

    fn shutdown(&self) -> &Shutdown {
        &self.outbox.shutdown
    }

    fn read_blocking(
        &self,
        next: &[(Partition, Option<i64>)],
        memory: Duration,
        proceed: impl Fn() -> bool + Copy,
    ) -> Result<Past, client::Error> {
        let remembered = Timestamp::now() - memory;
        let latest = remembered.as_millisecond();
        let mut from: BTreeMap<i32, i64> = BTreeMap::new();
        for (number, time) in self.times(next, proceed)? {
            let begin = (time - milliseconds(MARGIN)).clamp(0, latest);
            let earliest = from.entry(number).or_insert(begin);
            *earliest = begin.min(*earliest);
        }
        let ranges = from.into_iter().map(|(partition, time)| Range {
            partition,
            from: From::Time(time),
            until: None,
        });
        let mut reader = Reader::open_ranges(&self.client, &self.topic, ranges.collect())?;
        let mut past = Past::new(next, remembered);
        reader.read_to_end(proceed, |record| past.extend(Noted::of(&record)))?;
        Ok(past)
    }

    /// The time of the record at each offset, or of the first one without an offset, in milliseconds since 1970; now if
    /// there is none yet.
    fn times(
        &self,
        next: &[(Partition, Option<i64>)],
        proceed: impl Fn() -> bool + Copy,
    ) -> Result<Vec<(i32, i64)>, client::Error> {
        let now = Timestamp::now().as_millisecond();
        let mut by_topic: BTreeMap<&str, Vec<Range>> = BTreeMap::new();
        let mut times: BTreeMap<Partition, i64> = BTreeMap::new();
        for (partition, offset) in next {
            times.insert(partition.clone(), now);
            // A range ends with the first record that it has.
            by_topic.entry(&partition.topic).or_default().push(Range {
                partition: partition.number,
                from: offset.map_or(From::Beginning, From::Offset),
                until: Some(offset.unwrap_or_default() + 1),
            });
        }
        for (topic, ranges) in by_topic {
            let mut reader = Reader::open_ranges(&self.client, topic, ranges)?;
            reader.read_to_end(proceed, |record| {
                let time = times.entry(record.partition.clone()).or_insert(now);
                *time = record.timestamp_ms.min(*time);
            })?;
        }
        let numbered = times.into_iter();
        Ok(numbered
            .map(|(partition, time)| (partition.number, time))
            .collect())
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

// === impl Entry ===

impl Entry {
    /// It happens now.
    pub(crate) fn now(outcome: Outcome, attempt: &Attempt, doubts: u32) -> Self {
        Self {
            outcome,
            attempt: attempt.number,
            doubts,
            at: Timestamp::now(),
            reason: String::new(),
            detail: String::new(),
        }
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { detail, ..self }
    }

    /// Whether nothing follows.
    pub(crate) fn is_final(&self) -> bool {
        use Outcome::{GivenUp, Sent, Uncertain};
        matches!(self.outcome, Sent | Uncertain | GivenUp)
    }

    /// Which of several entries counts: a final one, or else the one about the last attempt.
    fn rank(&self) -> (bool, u32) {
        (self.is_final(), self.attempt)
    }

    /// Keeps it for a record if it counts. Those of one record can lie in several partitions, which come in any order.
    fn count<K: Eq + Hash>(self, last: &mut HashMap<K, Self>, record: K) {
        match last.entry(record) {
            Occupied(known) if known.get().rank() > self.rank() => {}
            Occupied(mut known) => *known.get_mut() = self,
            Vacant(unknown) => {
                unknown.insert(self);
            }
        }
    }
}

// === impl Noted ===

impl Noted {
    /// None if this is no entry: somebody else has written into the topic.
    fn of(record: &Record) -> Option<Self> {
        let written: Written = serde_json::from_slice(record.value()?).ok()?;
        Some(Self {
            chain: Chain {
                id: record.key()?.to_vec(),
                place: written.record,
            },
            read: written.read,
            entry: written.entry,
        })
    }
}
