//! What Kafka has made of submissions on the way to one sink: which records the sink is given, what some group has not
//! passed yet, and what was given up.
//!
//! First it is read how far the groups are, then what they have given up, then the topics. So whatever a group had passed
//! is seen in what is read later, and in what is read of the sink after that.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use formline_core::{
    Client, EventId, Record, client,
    event::{self, header},
    ledger::{Closed, Ledger},
    letter::Letter,
    progress::Progress,
};

use super::{
    submissions::{CLOCKS, Submissions, each, id, is_repetition},
    way::Way,
};

/// What became of submissions before the sink.
pub(super) struct Trail {
    /// What the sink is given, by the id of the record.
    pub(super) records: HashMap<EventId, Seen>,
    /// Submissions of which a step has not passed a record yet.
    pub(super) pending: HashSet<EventId>,
    /// What was given up, by the stop that has done so and the id of the record.
    parked: HashMap<(usize, EventId), Parked>,
}

/// A record that the sink is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) submission: EventId,
    /// How many there are: the id comes again if the key of the submission is used again after a day.
    pub(super) count: u32,
    /// The `ce_time` of the last of them.
    time: i64,
    /// Whether the sink's group has passed all of them.
    pub(super) is_passed: bool,
}

/// A record that a step or sink has given up.
struct Parked {
    submission: EventId,
    letters: u32,
    /// How often it was given back. Each letter can be replayed once, and is of no effect then.
    replays: u32,
    reason: String,
}

/// How far a group is: the next offset by topic and partition.
type Reached = HashMap<String, HashMap<i32, i64>>;

// === impl Trail ===

impl Trail {
    /// Blocks the thread.
    pub(super) fn read(client: &Client, way: &Way, submissions: &Submissions) -> Result<Self> {
        let reached = reached(client, way)?;
        let mut trail = Self {
            records: HashMap::new(),
            pending: HashSet::new(),
            parked: HashMap::new(),
        };
        for stop in 0..way.stops.len() {
            trail.read_letters(client, way, stop, submissions)?;
        }
        let from = submissions.since.checked_sub(CLOCKS)?;
        for topic in &way.topics {
            each(client, topic, from, |record| {
                trail.follow(way, &reached, submissions, &record);
            })?;
        }
        Ok(trail)
    }

    /// The records of submissions that a step or sink has given up for good, with its index and the reason.
    pub(super) fn given_up(&self) -> impl Iterator<Item = GivenUp<'_>> {
        let open = self.parked.iter().filter(|(_, parked)| parked.open() > 0);
        open.map(|((stop, record), parked)| GivenUp {
            stop: *stop,
            record: *record,
            submission: parked.submission,
            count: parked.open(),
            reason: &parked.reason,
        })
    }

    fn read_letters(
        &mut self,
        client: &Client,
        way: &Way,
        stop: usize,
        submissions: &Submissions,
    ) -> Result<()> {
        let ledger = match Ledger::read(client, way.stops[stop].clone()) {
            // Nothing was ever given up.
            Err(client::Error::NoTopic(_)) => return Ok(()),
            read => read?,
        };
        for letter in ledger.letters(client, 0)? {
            let letter = letter?;
            if !matches!(ledger.closed(letter.id.offset), Some(Closed::Repeated)) {
                self.add_letter(stop, &letter, submissions);
            }
        }
        Ok(())
    }

    fn add_letter(&mut self, stop: usize, letter: &Letter, submissions: &Submissions) {
        let Some(record) = id(letter.headers(), header::ID) else {
            return;
        };
        let origin = id(letter.headers(), header::ORIGIN);
        let Some(submission) = submissions.behind(origin, record) else {
            return;
        };
        let parked = self.parked.entry((stop, record)).or_insert_with(|| Parked {
            submission,
            letters: 0,
            replays: 0,
            reason: String::new(),
        });
        parked.letters += 1;
        letter.reason().clone_into(&mut parked.reason);
    }

    fn follow(
        &mut self,
        way: &Way,
        reached: &[Reached],
        submissions: &Submissions,
        record: &Record,
    ) {
        let Some(name) = id(record.headers(), header::ID) else {
            return;
        };
        let origin = id(record.headers(), header::ORIGIN);
        let Some(submission) = submissions.behind(origin, name) else {
            return;
        };
        let topic = &*record.partition.topic;
        for (number, stop) in way.stops.iter().enumerate() {
            let is_read = stop.topics.iter().any(|read| read == topic);
            if !is_read || !event::is_for(record, &stop.group()) {
                continue;
            }
            if record.header(header::REPLAY_FOR).is_some()
                && let Some(parked) = self.parked.get_mut(&(number, name))
            {
                parked.replays += 1;
            }
            let next = reached[number].get(topic);
            let next = next.and_then(|topic| topic.get(&record.partition.number));
            let is_passed = next.is_some_and(|next| record.offset < *next);
            if number == way.sink() {
                let time = event::time(record).as_microsecond();
                let seen = self.records.entry(name).or_insert(Seen::new(submission));
                seen.again(time, is_passed);
            } else if !is_passed {
                self.pending.insert(submission);
            }
        }
    }
}

/// How far each stop was at one moment.
fn reached(client: &Client, way: &Way) -> Result<Vec<Reached>, client::Error> {
    let progress = Progress::open(client, way.stages())?;
    let reached = (0..progress.len()).map(|stop| {
        let mut reached = Reached::new();
        for (topic, partition, next) in progress.committed(stop)? {
            reached.entry(topic).or_default().insert(partition, next);
        }
        Ok(reached)
    });
    reached.collect()
}

/// A record that was given up and not given back.
pub(super) struct GivenUp<'a> {
    /// Index of the stop that has given it up.
    pub(super) stop: usize,
    pub(super) record: EventId,
    pub(super) submission: EventId,
    pub(super) count: u32,
    /// The stable code of the last letter.
    pub(super) reason: &'a str,
}

// === impl Seen ===

impl Seen {
    fn new(submission: EventId) -> Self {
        Self {
            submission,
            count: 0,
            time: 0,
            is_passed: true,
        }
    }

    fn again(&mut self, time: i64, is_passed: bool) {
        if self.count == 0 || !is_repetition(self.time, time) {
            (self.time, self.count) = (time, self.count + 1);
        }
        self.is_passed &= is_passed;
    }
}

// === impl Parked ===

impl Parked {
    fn open(&self) -> u32 {
        self.letters.saturating_sub(self.replays)
    }
}
