//! What has happened to each record of a sink whose effect cannot be looked at from outside, such as an e-mail: one
//! topic, written before and after each attempt, read back when partitions are assigned.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use formline_core::{
    Client, EventId, Producer, Record, Shutdown,
    app::Sink,
    client,
    event::{self, header},
    producer,
    reader::{From, Range, Reader},
    record::{Headers, Outgoing, Partition},
    retry::Backoff,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    outcomes::{self, Question, Visit},
};

/// The journal of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    topic: Arc<str>,
    client: Client,
    producer: Arc<Producer>,
    shutdown: Shutdown,
}

/// One thing that has happened to a record.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) outcome: Outcome,
    /// Which attempt it is about, from 1.
    pub(crate) attempt: u32,
    pub(crate) at: Timestamp,
    /// For people, and for what a kind of sink must know after a restart.
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The attempt begins. If nothing follows, nobody knows whether it had its effect.
    Attempting,
    /// It certainly had no effect.
    Failed,
    /// It had its effect. Final.
    Sent,
    /// It may or may not have had its effect, and is not repeated. Final.
    Uncertain,
}

/// An entry that was read back, with the identity of the record that it is about (`event::identity`).
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) id: Vec<u8>,
    pub(crate) entry: Entry,
}

/// Entries that `read` keeps, the newest; about 30 MB. A sink commits as it goes, so few records lie behind its offset:
/// it would take so many entries since then for one to be forgotten, and its record would be sent again.
const LIMIT: usize = 100_000;

/// How much earlier than the record an entry about it may seem to be, because clocks of different machines disagree.
const MARGIN: Duration = Duration::from_secs(15 * 60);

// === impl Journal ===

impl Journal {
    pub(crate) fn of(
        sink: &Sink,
        client: Client,
        producer: Arc<Producer>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            topic: sink.journal_topic().into(),
            client,
            producer,
            shutdown,
        }
    }

    /// Writes an entry about a record, for as long as Kafka is away. False if the shutdown came first.
    pub(crate) async fn write(&self, record: &Record, entry: &Entry) -> Result<bool, Error> {
        let value = serde_json::to_vec(entry).expect("an entry has only text and numbers");
        let id = event::identity(record);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let outgoing = self.outgoing(record, &id, &value);
            match self.producer.send(outgoing).await {
                Ok(_) => return Ok(true),
                Err(producer::Error::QueueFull | producer::Error::NotAcknowledged(_)) => {}
                Err(source) => {
                    let topic = self.topic.to_string();
                    return Err(Error::Journal { topic, source });
                }
            }
            // Only now: what was done just before the shutdown is to be known, too.
            if self.shutdown.has_begun() {
                return Ok(false);
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    fn outgoing<'a>(&'a self, record: &Record, id: &'a [u8], value: &'a [u8]) -> Outgoing<'a> {
        let copied = [header::ID, header::SOURCE, header::TIME, header::ORIGIN];
        let headers = copied.into_iter().filter_map(|name| {
            let value = record.header(name)?;
            Some((name, value))
        });
        Outgoing {
            topic: &self.topic,
            partition: Some(record.partition.number),
            key: Some(id),
            value: Some(value),
            headers: Headers::copied(headers, 0),
            timestamp_ms: None,
        }
    }

    /// The entries about records from these offsets on, oldest first for each record; without an offset all of the
    /// partition. `back` is how far back from now to read at least. If the task is dropped, reading ends soon after.
    pub(crate) async fn read(
        &self,
        next: Vec<(Partition, Option<i64>)>,
        back: Duration,
    ) -> Result<VecDeque<Noted>, client::Error> {
        let wanted = Arc::new(());
        let is_wanted = Arc::downgrade(&wanted);
        let journal = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let proceed = || is_wanted.strong_count() > 0 && !journal.shutdown.has_begun();
            journal.read_blocking(&next, back, proceed)
        });
        read.await
            .expect("reading does not panic, and the runtime outlives the sink")
    }

    fn read_blocking(
        &self,
        next: &[(Partition, Option<i64>)],
        back: Duration,
        proceed: impl Fn() -> bool + Copy,
    ) -> Result<VecDeque<Noted>, client::Error> {
        let latest = Timestamp::now().as_millisecond() - milliseconds(back);
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
        let mut entries = VecDeque::new();
        reader.read_to_end(proceed, |record| {
            if entries.len() == LIMIT {
                entries.pop_front();
            }
            entries.extend(Noted::of(&record));
        })?;
        Ok(entries)
    }

    /// The time of the record at each offset, in milliseconds since 1970: now if there is none yet, and 0 for a
    /// partition without an offset.
    fn times(
        &self,
        next: &[(Partition, Option<i64>)],
        proceed: impl Fn() -> bool + Copy,
    ) -> Result<Vec<(i32, i64)>, client::Error> {
        let now = Timestamp::now().as_millisecond();
        let mut by_topic: BTreeMap<&str, Vec<Range>> = BTreeMap::new();
        let mut times: BTreeMap<Partition, i64> = BTreeMap::new();
        for (partition, offset) in next {
            times.insert(partition.clone(), offset.map_or(0, |_| now));
            let ranges = by_topic.entry(&partition.topic).or_default();
            ranges.extend(offset.map(|offset| Range {
                partition: partition.number,
                from: From::Offset(offset),
                // The range ends with the first record that it has.
                until: Some(offset + 1),
            }));
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

/// Gives what the journal of a sink says was sent, or may have been, to `visit`.
pub(crate) async fn outcomes(
    client: &Client,
    question: Question<'_>,
    visit: Visit<'_>,
) -> Result<(), Error> {
    let (client, topic) = (client.clone(), question.sink.journal_topic());
    let since = question.since.as_millisecond() - milliseconds(MARGIN);
    let read = tokio::task::spawn_blocking(move || {
        let mut reader = Reader::open(&client, &topic, &[], From::Time(since.max(0)))?;
        let mut ids = Vec::new();
        reader.read_to_end(|| true, |record| ids.extend(final_id(&record)))?;
        Ok::<_, client::Error>(ids)
    });
    for id in read.await.expect("reading does not panic")? {
        visit(outcomes::Outcome {
            id,
            is_under_way: false,
            is_late: false,
            place: None,
        });
    }
    Ok(())
}

/// The record's id, if this entry is the last about it.
fn final_id(entry: &Record) -> Option<EventId> {
    let Noted { entry: noted, .. } = Noted::of(entry)?;
    let id = entry.text_header(header::ID);
    id.filter(|_| noted.is_final())?.parse().ok()
}

/// What is to be known of each record: its final entry, or else the one about the last attempt. Entries of one record can
/// lie in several partitions, which come in any order.
pub(crate) fn last(entries: impl IntoIterator<Item = Noted>) -> HashMap<Vec<u8>, Entry> {
    let mut last: HashMap<Vec<u8>, Entry> = HashMap::new();
    for Noted { id, entry } in entries {
        let known = last.entry(id).or_insert_with(|| entry.clone());
        if entry.rank() >= known.rank() {
            *known = entry;
        }
    }
    last
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

// === impl Entry ===

impl Entry {
    /// It happens now.
    pub(crate) fn now(outcome: Outcome, attempt: u32, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            attempt,
            at: Timestamp::now(),
            detail: detail.into(),
        }
    }

    /// Whether nothing follows.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.outcome, Outcome::Sent | Outcome::Uncertain)
    }

    fn rank(&self) -> (bool, u32) {
        (self.is_final(), self.attempt)
    }
}

// === impl Noted ===

impl Noted {
    /// None if this is no entry: somebody else has written into the topic.
    fn of(record: &Record) -> Option<Self> {
        Some(Self {
            id: record.key()?.to_vec(),
            entry: serde_json::from_slice(record.value()?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_entry_of_a_record_wins_and_else_the_last_attempt() {
        let noted = |id: &[u8], outcome, attempt, detail: &str| Noted {
            id: id.to_vec(),
            entry: Entry::now(outcome, attempt, detail),
        };
        let last = last([
            noted(b"1", Outcome::Sent, 1, "taken"),
            noted(b"1", Outcome::Failed, 2, "a second chain"),
            noted(b"2", Outcome::Failed, 3, "third"),
            noted(b"2", Outcome::Failed, 1, "first"),
            noted(b"3", Outcome::Failed, 1, "first"),
            noted(b"3", Outcome::Attempting, 1, "again"),
        ]);
        let details = |id: &[u8]| last[id].detail.as_str();
        assert_eq!(details(b"1"), "taken");
        assert_eq!(details(b"2"), "third");
        assert_eq!(details(b"3"), "again");
    }
}
