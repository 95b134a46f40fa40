//! The accepted submissions, read from the topics of forms. A submission with an `Idempotency-Key`
//! may be in its topic twice, and counts once.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Result, ensure};
use formline_core::{
    App, Client, EventId, Record,
    event::{self, dedup::WINDOW, header},
    kafka::{
        client::ClientError,
        reader::{Reader, StartOffset},
    },
};
use jiff::{SignedDuration, Timestamp};

/// Submissions since a time, by id.
pub(super) struct Submissions {
    pub(super) since: Timestamp,
    /// The `ce_source` of each form.
    sources: Vec<String>,
    by_id: HashMap<EventId, Submission>,
    /// Records that repeat a submission.
    pub(super) repetitions: u64,
}

/// One submission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submission {
    /// Index of the source of its form.
    form: usize,
    /// When it was accepted, in microseconds since 1970. The latest time if the id was used again.
    pub(super) time: i64,
    /// How many submissions had the id: a key can be reused after a day.
    pub(super) uses: u32,
}

/// Each takes about 250 bytes for the sink that is being checked. At the bound the command fails
/// and asks for a later start.
const MAX_SUBMISSIONS: usize = 5_000_000;

/// Maximum lag of the clock of record timestamps behind the clock of `ce_time`.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

// === impl Submissions ===

impl Submissions {
    /// Reads the topics of all forms to their current ends. Blocks the thread.
    ///
    /// # Errors
    /// If Kafka cannot be read, or there are more than [`MAX_SUBMISSIONS`].
    pub(super) fn read(client: &Client, apps: &[Arc<App>], since: Timestamp) -> Result<Self> {
        let forms = apps.iter().flat_map(|app| &app.forms);
        let mut topics: Vec<&String> = forms.clone().map(|form| &form.topic).collect();
        topics.sort();
        topics.dedup();
        let mut read = Self {
            since,
            sources: forms.map(|form| event::source(&form.name)).collect(),
            by_id: HashMap::new(),
            repetitions: 0,
        };
        // A repetition may refer to a submission that was accepted before `since`.
        let from = since.checked_sub(WINDOW)?.checked_sub(CLOCK_SKEW)?;
        for topic in topics {
            each(client, topic, from, |record| read.add(&record))?;
            ensure!(
                read.by_id.len() < MAX_SUBMISSIONS,
                "there are more than {MAX_SUBMISSIONS} submissions since {since}; choose a later \
                 time with --since"
            );
        }
        read.by_id
            .retain(|_, one| one.time >= since.as_microsecond());
        Ok(read)
    }

    fn add(&mut self, record: &Record) {
        let source = record.text_header(header::SOURCE);
        let form = self.sources.iter().position(|form| Some(&**form) == source);
        let (Some(form), Some(id)) = (form, id(record.headers(), header::ID)) else {
            return;
        };
        let is_new =
            record.header(header::ORIGIN).is_none() && record.header(header::REPLAY_FOR).is_none();
        let time = event::time(record).as_microsecond();
        let is_keyed = record.header(header::FINGERPRINT).is_some();
        let is_wanted = is_keyed || time >= self.since.as_microsecond();
        if is_new && is_wanted && self.by_id.len() < MAX_SUBMISSIONS {
            let held = self.by_id.entry(id).or_insert(Submission {
                form,
                time,
                uses: 0,
            });
            if held.uses > 0 && is_repetition(held.time, time) {
                self.repetitions += 1;
            } else {
                (held.time, held.uses) = (time, held.uses + 1);
            }
        }
    }

    pub(super) fn get(&self, id: &EventId) -> Option<&Submission> {
        self.by_id.get(id)
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// The ids of the submissions to the forms with these sources.
    pub(super) fn to(&self, sources: &[String]) -> impl Iterator<Item = EventId> {
        let wanted = self.sources.iter().map(|source| sources.contains(source));
        let wanted: Vec<bool> = wanted.collect();
        let chosen = self.by_id.iter().filter(move |(_, one)| wanted[one.form]);
        chosen.map(|(id, _)| *id)
    }

    /// The id of the submission that a record is or was derived from, if it is one of these.
    pub(super) fn origin_of(&self, origin: Option<EventId>, id: EventId) -> Option<EventId> {
        let submission = origin.unwrap_or(id);
        self.by_id.contains_key(&submission).then_some(submission)
    }
}

/// Whether two records with the same id, accepted at these times in microseconds, are one
/// submission.
pub(super) fn is_repetition(first: i64, second: i64) -> bool {
    u128::from(first.abs_diff(second)) < WINDOW.as_micros()
}

/// The event id in a header, if it has one.
pub(super) fn id<'a>(
    mut headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    name: &str,
) -> Option<EventId> {
    let (_, value) = headers.find(|(found, _)| *found == name)?;
    str::from_utf8(value).ok()?.parse().ok()
}

/// Passes every record of a topic to `visit`, from a time on to the current end. A missing topic
/// contains none: a stage that never ran has none. Blocks the thread.
pub(super) fn each(
    client: &Client,
    topic: &str,
    from: Timestamp,
    visit: impl FnMut(Record),
) -> Result<(), ClientError> {
    let from = StartOffset::Timestamp(from.as_millisecond());
    let mut reader = match Reader::open(client, topic, &[], from) {
        Err(ClientError::NoTopic(_)) => return Ok(()),
        opened => opened?,
    };
    reader.read_to_end(|| true, visit)
}
