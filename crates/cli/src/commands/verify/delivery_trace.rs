//! The trace of submissions through Kafka to one sink: the records that the sink reads, the records
//! that some group has not passed yet, and the dead-lettered records.
//!
//! It is read in this order: the committed offsets of the groups, then the dead letters, then the
//! topics. So everything that a group had passed is in what is read later, and in what is read of
//! the sink after that.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use formline_core::{
    Client, EventId, Record,
    dead_letter::{
        index::{ClosedReason, DeadLetterIndex},
        letter::DeadLetter,
    },
    event::{self, header},
    kafka::{client::ClientError, group_progress::GroupProgress},
};

use super::{
    route::Route,
    submissions::{CLOCK_SKEW, Submissions, each, id, is_repetition},
};

/// What happened to submissions before the sink.
pub(super) struct DeliveryTrace {
    /// The records that the sink reads, by id.
    pub(super) inputs: HashMap<EventId, SinkInput>,
    /// Submissions with a record that a step has not passed yet.
    pub(super) pending: HashSet<EventId>,
    /// Dead-lettered records, by the index of the stop and the id of the record.
    dead_lettered: HashMap<(usize, EventId), LetterCount>,
}

/// The records with one id that the sink reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct SinkInput {
    pub(super) submission: EventId,
    /// Number of records without repetitions. More than one if the key of the submission was reused
    /// after a day.
    pub(super) count: u32,
    /// The `ce_time` of the latest of them, in microseconds since 1970.
    time: i64,
    /// Whether the group of the sink has passed all of them.
    pub(super) is_passed: bool,
}

/// The dead letters of one record at one stop.
struct LetterCount {
    submission: EventId,
    letters: u32,
    /// Number of replays. A dead letter can be replayed once, and has no effect afterwards.
    replays: u32,
    reason: String,
}

/// A record with open dead letters.
pub(super) struct DeadLettered<'a> {
    /// Index of the stop that dead-lettered it.
    pub(super) stop: usize,
    pub(super) record: EventId,
    pub(super) submission: EventId,
    pub(super) count: u32,
    /// The reason code of the latest dead letter.
    pub(super) reason: &'a str,
}

/// Committed offsets of a group, by topic and partition.
type Committed = HashMap<String, HashMap<i32, i64>>;

// === impl DeliveryTrace ===

impl DeliveryTrace {
    /// Reads the trace. Blocks the thread.
    pub(super) fn read(client: &Client, route: &Route, submissions: &Submissions) -> Result<Self> {
        let committed = committed(client, route)?;
        let mut trace = Self {
            inputs: HashMap::new(),
            pending: HashSet::new(),
            dead_lettered: HashMap::new(),
        };
        for stop in 0..route.stops.len() {
            trace.read_letters(client, route, stop, submissions)?;
        }
        let from = submissions.since.checked_sub(CLOCK_SKEW)?;
        for topic in &route.topics {
            each(client, topic, from, |record| {
                trace.add_record(route, &committed, submissions, &record);
            })?;
        }
        Ok(trace)
    }

    /// The records that have open dead letters.
    pub(super) fn dead_lettered(&self) -> impl Iterator<Item = DeadLettered<'_>> {
        let all = self.dead_lettered.iter();
        let open = all.filter(|(_, letters)| letters.open() > 0);
        open.map(|((stop, record), letters)| DeadLettered {
            stop: *stop,
            record: *record,
            submission: letters.submission,
            count: letters.open(),
            reason: &letters.reason,
        })
    }

    fn read_letters(
        &mut self,
        client: &Client,
        route: &Route,
        stop: usize,
        submissions: &Submissions,
    ) -> Result<()> {
        let index = match DeadLetterIndex::read(client, route.stops[stop].clone()) {
            // Nothing was ever dead-lettered.
            Err(ClientError::NoTopic(_)) => return Ok(()),
            read => read?,
        };
        for letter in index.dead_letters(client, 0)? {
            let letter = letter?;
            if !matches!(
                index.closed(letter.id.offset),
                Some(ClosedReason::Duplicate)
            ) {
                self.add_letter(stop, &letter, submissions);
            }
        }
        Ok(())
    }

    fn add_letter(&mut self, stop: usize, letter: &DeadLetter, submissions: &Submissions) {
        let Some(record) = id(letter.headers(), header::ID) else {
            return;
        };
        let origin = id(letter.headers(), header::ORIGIN);
        let Some(submission) = submissions.origin_of(origin, record) else {
            return;
        };
        let entry = self.dead_lettered.entry((stop, record));
        let letters = entry.or_insert_with(|| LetterCount {
            submission,
            letters: 0,
            replays: 0,
            reason: String::new(),
        });
        letters.letters += 1;
        letter.reason().clone_into(&mut letters.reason);
    }

    /// Adds a record of a topic to each stop that reads it.
    fn add_record(
        &mut self,
        route: &Route,
        committed: &[Committed],
        submissions: &Submissions,
        record: &Record,
    ) {
        let Some(record_id) = id(record.headers(), header::ID) else {
            return;
        };
        let origin = id(record.headers(), header::ORIGIN);
        let Some(submission) = submissions.origin_of(origin, record_id) else {
            return;
        };
        let topic = &*record.partition.topic;
        for (index, stop) in route.stops.iter().enumerate() {
            let is_read = stop.topics.iter().any(|read| read == topic);
            if !is_read || !event::is_for(record, &stop.group()) {
                continue;
            }
            if record.header(header::REPLAY_FOR).is_some()
                && let Some(letters) = self.dead_lettered.get_mut(&(index, record_id))
            {
                letters.replays += 1;
            }
            let next = committed[index].get(topic);
            let next = next.and_then(|topic| topic.get(&record.partition.number));
            let is_passed = next.is_some_and(|next| record.offset < *next);
            if index == route.sink() {
                let time = event::time(record).as_microsecond();
                let input = self.inputs.entry(record_id);
                let input = input.or_insert(SinkInput::new(submission));
                input.add(time, is_passed);
            } else if !is_passed {
                self.pending.insert(submission);
            }
        }
    }
}

/// The committed offsets of each stop.
fn committed(client: &Client, route: &Route) -> Result<Vec<Committed>, ClientError> {
    let progress = GroupProgress::open(client, route.stages())?;
    let committed = (0..progress.len()).map(|stop| {
        let mut committed = Committed::new();
        for (topic, partition, next) in progress.committed(stop)? {
            committed.entry(topic).or_default().insert(partition, next);
        }
        Ok(committed)
    });
    committed.collect()
}

// === impl SinkInput ===

impl SinkInput {
    fn new(submission: EventId) -> Self {
        Self {
            submission,
            count: 0,
            time: 0,
            is_passed: true,
        }
    }

    fn add(&mut self, time: i64, is_passed: bool) {
        if self.count == 0 || !is_repetition(self.time, time) {
            (self.time, self.count) = (time, self.count + 1);
        }
        self.is_passed &= is_passed;
    }
}

// === impl LetterCount ===

impl LetterCount {
    fn open(&self) -> u32 {
        self.letters.saturating_sub(self.replays)
    }
}
