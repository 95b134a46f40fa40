//! What journals say that sinks have done, and what waits for its next attempt.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use formline_core::{
    Client, EventId, Record, client,
    event::header,
    progress::{Progress, Stage},
    reader::{From, Range, Reader},
};
use jiff::Timestamp;

use super::{Entry, MARGIN, Noted, Outcome as Was, milliseconds};
use crate::{
    Error,
    outcomes::{Outcome, Question, State, Visit},
};

/// A record: its id, and the partition and offset where it was read first.
type Key = (EventId, i32, i64);

/// How long a dead letter may take to be there after the entry that announces it.
const PARKING: Duration = Duration::from_secs(10 * 60);

/// How far back a journal goes (`formline_core::app::Sink`).
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Gives each record to `visit` that the sink is done with, or that waits for its next attempt.
pub(crate) async fn outcomes(
    client: &Client,
    question: Question<'_>,
    visit: Visit<'_>,
) -> Result<(), Error> {
    let sink = question.sink;
    if question.since < Timestamp::now() - KEPT {
        return Err(Error::Unread {
            sink: sink.group(),
            why: "its journal goes back 30 days; ask for less with --since".to_owned(),
        });
    }
    let (client, group) = (client.clone(), sink.group());
    let (journal, retries) = (sink.journal_topic(), sink.retries_topic());
    let since = question.since.as_millisecond() - milliseconds(MARGIN);
    let read = tokio::task::spawn_blocking(move || {
        // Before the journal: what is done meanwhile then is in both, and else it would be in neither.
        let waiting = match retries {
            Some(topic) => or_nothing(read_waiting(&client, group, &topic))?,
            None => HashSet::new(),
        };
        let last = or_nothing(read_last(&client, &journal, since.max(0)))?;
        Ok::<_, client::Error>((waiting, last))
    });
    let (waiting, last) = read.await.expect("reading does not panic")?;
    for (key, entry) in last {
        if let Some(state) = state(&entry, waiting.contains(&key)) {
            visit(Outcome {
                id: key.0,
                state,
                is_late: false,
                place: None,
            });
        }
    }
    Ok(())
}

/// None if the record is in the sink's input still, or nowhere.
fn state(entry: &Entry, is_waiting: bool) -> Option<State> {
    match entry.outcome {
        Was::Sent => Some(State::Done),
        Was::Uncertain => Some(State::Uncertain),
        _ if is_waiting => Some(State::UnderWay),
        Was::GivenUp if entry.at > Timestamp::now() - PARKING => Some(State::UnderWay),
        Was::GivenUp | Was::PutOff | Was::Attempting | Was::Failed => None,
    }
}

/// A topic that is not there holds nothing: the sink has never run.
fn or_nothing<T: Default>(read: Result<T, client::Error>) -> Result<T, client::Error> {
    match read {
        Err(client::Error::NoTopic(_)) => Ok(T::default()),
        read => read,
    }
}

fn read_last(
    client: &Client,
    journal: &str,
    since: i64,
) -> Result<HashMap<Key, Entry>, client::Error> {
    let mut last: HashMap<Key, Entry> = HashMap::new();
    let mut reader = Reader::open(client, journal, &[], From::Time(since))?;
    reader.read_to_end(
        || true,
        |record| {
            if let Some((key, entry)) = keyed(&record) {
                entry.count(&mut last, key);
            }
        },
    )?;
    Ok(last)
}

fn keyed(record: &Record) -> Option<(Key, Entry)> {
    let Noted { chain, entry, .. } = Noted::of(record)?;
    let id = record.text_header(header::ID)?.parse().ok()?;
    Some(((id, chain.place.partition, chain.place.offset), entry))
}

/// The records in the topic of retries that the sink's group has not passed.
fn read_waiting(
    client: &Client,
    group: String,
    topic: &str,
) -> Result<HashSet<Key>, client::Error> {
    let stage = Stage {
        group,
        topics: vec![topic.to_owned()],
    };
    let progress = Progress::open(client, vec![stage])?;
    let committed = progress.committed(0)?;
    let next = |partition| committed.iter().find(|(_, number, _)| *number == partition);
    let ranges = progress.ends_to_pass(0)?.into_iter();
    let ranges = ranges.map(|(_, partition, _)| Range {
        partition,
        from: next(partition).map_or(From::Beginning, |(_, _, next)| From::Offset(*next)),
        until: None,
    });
    let mut reader = Reader::open_ranges(client, topic, ranges.collect())?;
    let mut waiting = HashSet::new();
    reader.read_to_end(
        || true,
        |record| {
            let id = record.text_header(header::ID);
            let id = id.and_then(|text| text.parse::<EventId>().ok());
            let first = crate::attempt::Attempt::of(record).record;
            waiting.extend(id.map(|id| (id, first.partition.number, first.offset)));
        },
    )?;
    Ok(waiting)
}
