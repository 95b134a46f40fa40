//! The rows of one sink that wait in Redis: a sorted set by time of submission, their records, and how far each partition
//! has been read into them. Every change is one script, so a replica, which holds a prefix of the commands, holds a state
//! that was true once; and what it says (this offset is done with, everything until this time has come) stays true, of the
//! tab that it was said of.

mod look;
mod scripts;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use formline_core::{Record, record::Partition};
use redis::{Script, ScriptInvocation};

pub(crate) use self::look::{Filled, Look, Place};
use self::{
    look::{Lowest, name},
    scripts::{BEGIN, FETCH, FORGET, LOOK, PUT, REMOVE},
};

use super::{mark::Mark, payload, row::Row};
use crate::redis::{Failure, Redis};

/// Reaches the rows of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    redis: Redis,
    /// All keys of a sink have one hash tag, so that a cluster keeps them together.
    keys: [String; 5],
    /// Most rows that may wait.
    bound: usize,
}

/// What a filling begins with.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    pub(crate) partition: Partition,
    /// Names this filling: whoever begins a new one ends those before.
    pub(crate) fill: String,
    pub(crate) start: i64,
    /// `began` of the mark that says where it starts.
    pub(crate) tab: i64,
}

/// What is put at one time: what was read of one partition, from one offset to another.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    pub(crate) partition: Partition,
    pub(crate) fill: String,
    pub(crate) expected: i64,
    pub(crate) next: i64,
    /// Everything that was submitted until then has been read, in microseconds since 1970.
    pub(crate) due: Option<i64>,
    pub(crate) rows: Vec<Row>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Done {
        /// Rows that wait.
        count: usize,
        /// Where a new owner would begin, as the last flush has said.
        low: Option<i64>,
    },
    /// No room.
    Full,
    /// Redis has lost something, or somebody else fills: begin anew.
    Lost,
}

/// Redis keeps scores as doubles, which hold microseconds since 1970 exactly until the year 2255. A row from beyond that
/// waits among those of that moment; its place in the sheet is by its record.
const MAX_SCORE: i64 = 1 << 53;

/// Rows that a look returns by offset, of all partitions. Behind them it is not said which offsets are done with, so a mark
/// names them later.
const LOOK_PLACES: usize = 1_000;

/// Bytes of the records that are fetched at one time, one record at least. The others are fetched when these are written.
const FETCH_BYTES: usize = 2 << 20;

/// Rows that one script takes away. With more it would hold Redis up.
const REMOVE_ROWS: usize = 1_000;

// === impl Waiting ===

impl Waiting {
    /// The rows of the sink with this consumer group and first spreadsheet. Installations may share a Redis and the names of
    /// their apps, each with a Kafka of its own, but not a spreadsheet, in which a sink has one tab.
    pub(crate) fn new(redis: Redis, group: &str, spreadsheet: &str, bound: usize) -> Self {
        let key = |name| format!("{{{group}:{spreadsheet}}}:{name}");
        Self {
            redis,
            keys: ["rows", "payloads", "state", "held", "offsets"].map(key),
            bound,
        }
    }

    /// Counts the connections to Redis.
    pub(crate) fn generation(&self) -> u64 {
        self.redis.generation()
    }

    /// Begins to fill a partition anew from `start` on; rows that wait of it go.
    pub(crate) async fn begin(&self, begin: &Begin) -> Result<(), Failure> {
        let mut script = self.script(&BEGIN);
        script.arg(name(&begin.partition)).arg(&begin.fill);
        script.arg(begin.start).arg(begin.tab);
        self.redis.invoke(&script).await
    }

    /// Adds what was read.
    pub(crate) async fn put(&self, put: &Put, now_ms: i64) -> Result<Outcome, Failure> {
        let mut script = self.script(&PUT);
        let due = put.due.map_or_else(String::new, |due| due.to_string());
        script.arg(name(&put.partition)).arg(&put.fill);
        script.arg(put.expected).arg(put.next).arg(due);
        script.arg(self.bound).arg(now_ms);
        for row in &put.rows {
            if let Some(record) = &row.record {
                let score = row.key.time.clamp(-MAX_SCORE, MAX_SCORE);
                let place = Place::of(&row.key);
                script.arg(score).arg(place.member()).arg(place.by_offset());
                script.arg(payload::write(record));
            }
        }
        let answer: Vec<String> = self.redis.invoke(&script).await?;
        let number = |place: usize| answer.get(place).and_then(|text| text.parse().ok());
        Ok(match answer.first().map(String::as_str) {
            Some("done") => Outcome::Done {
                count: number(1)
                    .and_then(|count: i64| usize::try_from(count).ok())
                    .unwrap_or_default(),
                low: number(2),
            },
            Some("full") => Outcome::Full,
            _ => Outcome::Lost,
        })
    }

    /// What waits, without content, at most `rows` by time; none if Redis has lost a part of it.
    pub(crate) async fn look(
        &self,
        held_before_ms: i64,
        rows: usize,
    ) -> Result<Option<Look>, Failure> {
        let mut script = self.script(&LOOK);
        script.arg(held_before_ms).arg(rows).arg(LOOK_PLACES);
        let answer: Option<(Vec<String>, Vec<String>, Vec<Lowest>)> =
            self.redis.invoke(&script).await?;
        let read = |(state, rows, lowest): (Vec<_>, Vec<_>, Vec<_>)| {
            Look::read(&state, &rows, &lowest).ok_or_else(|| self.unread())
        };
        answer.map(read).transpose()
    }

    /// The records of the first of these rows. A row that is not there any more is left out: somebody has written it
    /// meanwhile.
    pub(crate) async fn fetch(&self, places: &[Place]) -> Result<Vec<Record>, Failure> {
        let mut script = self.script(&FETCH);
        script.arg(FETCH_BYTES);
        for place in places {
            script.arg(place.member());
        }
        let found: Vec<Vec<u8>> = self.redis.invoke(&script).await?;
        let read = |(place, bytes): (&Place, Vec<u8>)| {
            payload::read(place.partition.clone(), place.offset, &bytes)
        };
        Ok(places.iter().zip(found).filter_map(read).collect())
    }

    /// Takes rows away that the sheet holds, or that are parked as dead letters, as its mark says.
    pub(crate) async fn remove(&self, places: &[Place], mark: &Mark) -> Result<(), Failure> {
        for places in places.chunks(REMOVE_ROWS) {
            let mut script = self.script(&REMOVE);
            let lows: Vec<_> = mark.positions.lows().collect();
            script.arg(self.bound).arg(mark.began).arg(lows.len());
            for (topic, number, low) in lows {
                script.arg(format!("{number}|{topic}")).arg(low);
            }
            for place in places {
                script.arg(place.member()).arg(place.by_offset());
            }
            self.redis.invoke::<()>(&script).await?;
        }
        Ok(())
    }

    /// Drops what is kept for a tab that is not there any more.
    pub(crate) async fn forget(&self, tab: Option<i64>) -> Result<(), Failure> {
        let mut script = self.script(&FORGET);
        script.arg(tab.map_or_else(String::new, |tab| tab.to_string()));
        self.redis.invoke(&script).await
    }

    /// Where one key is gone, all go, and who fills begins anew.
    fn unread(&self) -> Failure {
        let key = &self.keys[2];
        Failure::Refused(format!(
            "what waits there cannot be read; delete the key {key}, and it is read from kafka again"
        ))
    }

    fn script<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in &self.keys {
            invocation.key(key);
        }
        invocation
    }
}
