//! What a journal says that its sink has done, and what waits for its next attempt.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use formline_core::{
    Client, EventId, Record,
    event::header,
    kafka::{
        client::ClientError,
        group_progress::{GroupProgress, Stage},
        reader::{PartitionRange, Reader, StartOffset},
    },
};
use jiff::Timestamp;

use super::{
    attempt::Attempt,
    entry::{AttemptOutcome, JournalEntry, RecordedEntry},
    journal::{CLOCK_SKEW, milliseconds},
};
use crate::{
    engine::outcome::{AuditQuery, OutcomeState, OutcomeVisitor, SinkOutcome},
    error::Error,
};

/// A record: its id, and the partition and offset where it was read first.
type RecordKey = (EventId, i32, i64);

/// How long a dead letter may take to appear after the entry that announces it.
const DEAD_LETTER_DELAY: Duration = Duration::from_secs(10 * 60);

/// How far back a journal goes (`formline_core::app::Sink`).
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Passes each record to `visit` that the sink has finished, or that waits for its next attempt.
///
/// # Errors
/// If the journal does not go back far enough, or if Kafka is unavailable.
pub(crate) async fn audit(
    client: &Client,
    query: AuditQuery<'_>,
    visit: OutcomeVisitor<'_>,
) -> Result<(), Error> {
    let sink = query.sink;
    if query.since < Timestamp::now() - RETENTION {
        return Err(Error::Unread {
            sink: sink.group(),
            why: "its journal goes back 30 days; ask for less with --since".to_owned(),
        });
    }
    let (client, group) = (client.clone(), sink.group());
    let (journal, retries) = (sink.journal_topic(), sink.retries_topic());
    let since = query.since.as_millisecond() - milliseconds(CLOCK_SKEW);
    let read = tokio::task::spawn_blocking(move || {
        // Before the journal: what is finished meanwhile is then in both, and otherwise it would be
        // in neither.
        let waiting = match retries {
            Some(topic) => empty_if_missing(read_deferred(&client, group, &topic))?,
            None => HashSet::new(),
        };
        let last = empty_if_missing(read_last(&client, &journal, since.max(0)))?;
        Ok::<_, ClientError>((waiting, last))
    });
    let (waiting, last) = read.await.expect("reading does not panic")?;
    for (key, entry) in last {
        if let Some(state) = state(&entry, waiting.contains(&key)) {
            visit(SinkOutcome {
                id: key.0,
                state,
                is_late: false,
                location: None,
            });
        }
    }
    Ok(())
}

/// `None` if the record is still in the input of the sink, or lost.
fn state(entry: &JournalEntry, is_waiting: bool) -> Option<OutcomeState> {
    use AttemptOutcome::{Attempting, DeadLettered, Deferred, Failed, Sent, Unknown};
    match entry.outcome {
        Sent => Some(OutcomeState::Done),
        Unknown => Some(OutcomeState::Unknown),
        _ if is_waiting => Some(OutcomeState::UnderWay),
        DeadLettered if entry.at > Timestamp::now() - DEAD_LETTER_DELAY => {
            Some(OutcomeState::UnderWay)
        }
        DeadLettered | Deferred | Attempting | Failed => None,
    }
}

/// A topic that does not exist is empty: the sink has never run.
fn empty_if_missing<T: Default>(read: Result<T, ClientError>) -> Result<T, ClientError> {
    match read {
        Err(ClientError::NoTopic(_)) => Ok(T::default()),
        read => read,
    }
}

fn read_last(
    client: &Client,
    journal: &str,
    since: i64,
) -> Result<HashMap<RecordKey, JournalEntry>, ClientError> {
    let mut last: HashMap<RecordKey, JournalEntry> = HashMap::new();
    let mut reader = Reader::open(client, journal, &[], StartOffset::Timestamp(since))?;
    reader.read_to_end(
        || true,
        |record| {
            if let Some((key, entry)) = keyed(&record) {
                entry.keep_latest(&mut last, key);
            }
        },
    )?;
    Ok(last)
}

fn keyed(record: &Record) -> Option<(RecordKey, JournalEntry)> {
    let RecordedEntry { key, entry, .. } = RecordedEntry::of(record)?;
    let id = record.text_header(header::ID)?.parse().ok()?;
    Some(((id, key.position.partition, key.position.offset), entry))
}

/// The records in the retries topic that the group of the sink has not passed.
fn read_deferred(
    client: &Client,
    group: String,
    topic: &str,
) -> Result<HashSet<RecordKey>, ClientError> {
    let stage = Stage {
        group,
        topics: vec![topic.to_owned()],
    };
    let progress = GroupProgress::open(client, vec![stage])?;
    let committed = progress.committed(0)?;
    let next = |partition| committed.iter().find(|(_, number, _)| *number == partition);
    let ranges = progress.ends_to_pass(0)?.into_iter();
    let ranges = ranges.map(|(_, partition, _)| PartitionRange {
        partition,
        from: next(partition).map_or(StartOffset::Beginning, |(_, _, next)| {
            StartOffset::Offset(*next)
        }),
        until: None,
    });
    let mut reader = Reader::open_ranges(client, topic, ranges.collect())?;
    let mut deferred = HashSet::new();
    reader.read_to_end(
        || true,
        |record| {
            let id = record.text_header(header::ID);
            let id = id.and_then(|text| text.parse::<EventId>().ok());
            let position = Attempt::of(record).key.position;
            deferred.extend(id.map(|id| (id, position.partition, position.offset)));
        },
    )?;
    Ok(deferred)
}
