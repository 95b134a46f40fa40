//! The rows of one sink that wait in Redis: a sorted set by time of submission, their records, and how far each partition
//! has been read into them. Every change is one script, so a replica, which holds a prefix of the commands, holds a state
//! that was true once; and what it says (this offset is done with, everything until this time has come) stays true.

use std::{collections::HashMap, sync::LazyLock};

use formline_core::{Record, record::Partition};
use redis::{Script, ScriptInvocation};

use super::{
    mark::Mark,
    payload,
    row::{Key, Row},
};
use crate::redis::{Failure, Redis};

/// Reaches the rows of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    redis: Redis,
    /// All keys of a sink have one hash tag, so that a cluster keeps them together.
    keys: [String; 4],
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

/// What waits at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// `began` of the mark that it is true of: of another tab, nothing that it says is.
    pub(crate) tab: Option<i64>,
    /// In the order of the sheet.
    pub(crate) places: Vec<Place>,
    pub(crate) filled: Vec<Filled>,
    /// Rows until then were held back for long enough.
    pub(crate) held: Option<i64>,
    /// There was no room, and there will be when half of the rows are written.
    pub(crate) is_full: bool,
}

/// A row that waits, without its content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// In microseconds since 1970, as far as a score goes.
    pub(crate) time: i64,
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    member: String,
}

/// How far a partition was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Filled {
    pub(crate) partition: Partition,
    pub(crate) start: i64,
    pub(crate) next: i64,
    pub(crate) due: Option<i64>,
}

/// KEYS of every script: rows, payloads, state, held. ARGV: partition, fill, start, tab. What was kept for another tab
/// goes with all its partitions: that an offset is done with may be true of that tab alone.
static BEGIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('HGET', KEYS[3], 'tab') ~= ARGV[4] then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  redis.call('HSET', KEYS[3], 'tab', ARGV[4])
end
local suffix = '|' .. ARGV[1]
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(member, -#suffix) == suffix then
    redis.call('ZREM', KEYS[1], member)
    redis.call('HDEL', KEYS[2], member)
    redis.call('HINCRBY', KEYS[3], 'count', -1)
  end
end
redis.call('HDEL', KEYS[3], 'due:' .. ARGV[1], 'low:' .. ARGV[1])
redis.call('HSET', KEYS[3], 'fill:' .. ARGV[1], ARGV[2], 'start:' .. ARGV[1], ARGV[3], 'next:' .. ARGV[1], ARGV[3])
return 1",
    )
});

/// ARGV: partition, fill, expected next, next, due, bound, now in milliseconds; then time, member and payload of each row.
/// A put that comes a second time finds `next` where it has put it.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local p = ARGV[1]
local fill, at = unpack(redis.call('HMGET', KEYS[3], 'fill:' .. p, 'next:' .. p))
if fill ~= ARGV[2] then return {'lost'} end
if at ~= ARGV[4] then
  if at ~= ARGV[3] then return {'lost'} end
  local rows = (#ARGV - 7) / 3
  local count = tonumber(redis.call('HGET', KEYS[3], 'count') or '0')
  if rows > 0 and count + rows > tonumber(ARGV[6]) then
    redis.call('HSET', KEYS[3], 'full', 1)
    return {'full'}
  end
  local latest
  for i = 8, #ARGV, 3 do
    if redis.call('ZADD', KEYS[1], 'NX', ARGV[i], ARGV[i + 1]) == 1 then
      redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 2])
      redis.call('HINCRBY', KEYS[3], 'count', 1)
    end
    if not latest or tonumber(ARGV[i]) > tonumber(latest) then latest = ARGV[i] end
  end
  if latest then redis.call('ZADD', KEYS[4], 'NX', ARGV[7], latest) end
  redis.call('HSET', KEYS[3], 'next:' .. p, ARGV[4])
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], 'due:' .. p, ARGV[5]) end
local count, low = unpack(redis.call('HMGET', KEYS[3], 'count', 'low:' .. p))
return {'done', count or '0', low or ''}",
    )
});

/// ARGV: rows that came before this time, in milliseconds, have been held back for long enough. Where the number of rows
/// is not what it should be, keys were lost (evicted, deleted): then all go, and who fills finds that out.
static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local count = tonumber(redis.call('HGET', KEYS[3], 'count') or '0')
if count ~= redis.call('ZCARD', KEYS[1]) or count ~= redis.call('HLEN', KEYS[2]) then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  return false
end
local held = redis.call('HGET', KEYS[3], 'held')
for _, time in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[1])) do
  if not held or tonumber(time) > tonumber(held) then held = time end
end
if held and redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', ARGV[1]) > 0 then
  redis.call('HSET', KEYS[3], 'held', held)
end
return {redis.call('HGETALL', KEYS[3]), redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')}",
    )
});

/// ARGV: members. Those that have gone meanwhile come back empty.
static FETCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found = {}
for i, member in ipairs(ARGV) do found[i] = redis.call('HGET', KEYS[2], member) or '' end
return found",
    )
});

/// ARGV: bound, tab, number of partitions, then each with its low; then members. Rows that wait for another tab than the one
/// that they were written to stay. A Redis whose memory is full refuses a script whose first change needs memory, and none that
/// has begun to free some: so rows go first.
static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('HGET', KEYS[3], 'tab') ~= ARGV[2] then return 0 end
local lows = 3 + 2 * tonumber(ARGV[3])
for i = lows + 1, #ARGV do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('HINCRBY', KEYS[3], 'count', -1)
  end
end
if tonumber(redis.call('HGET', KEYS[3], 'count') or '0') <= ARGV[1] / 2 then redis.call('HDEL', KEYS[3], 'full') end
for i = 4, lows, 2 do redis.call('HSET', KEYS[3], 'low:' .. ARGV[i], ARGV[i + 1]) end
return 1",
    )
});

/// ARGV: tab, empty if there is none. Who fills finds at the next put that all is gone, and begins anew.
static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if (redis.call('HGET', KEYS[3], 'tab') or '') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4]) end
return 1",
    )
});

// === impl Waiting ===

impl Waiting {
    /// The rows of the sink with this consumer group.
    pub(crate) fn new(redis: Redis, group: &str, bound: usize) -> Self {
        let key = |name| format!("{{{group}}}:{name}");
        Self {
            redis,
            keys: ["rows", "payloads", "state", "held"].map(key),
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
                script.arg(score).arg(member(&row.key));
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

    /// Everything that waits, without content; none if Redis has lost a part of it.
    pub(crate) async fn look(&self, held_before_ms: i64) -> Result<Option<Look>, Failure> {
        let mut script = self.script(&LOOK);
        script.arg(held_before_ms);
        let answer: Option<(Vec<String>, Vec<String>)> = self.redis.invoke(&script).await?;
        let read = |(state, rows): (Vec<_>, Vec<_>)| {
            let unread = || Failure::Refused("what waits there cannot be read".to_owned());
            Look::read(&state, &rows).ok_or_else(unread)
        };
        answer.map(read).transpose()
    }

    /// The records of these rows. A row that is not there any more is left out: somebody has written it meanwhile.
    pub(crate) async fn fetch(&self, places: &[Place]) -> Result<Vec<Record>, Failure> {
        let mut script = self.script(&FETCH);
        for place in places {
            script.arg(&place.member);
        }
        let found: Vec<Vec<u8>> = self.redis.invoke(&script).await?;
        let read = |(place, bytes): (&Place, Vec<u8>)| {
            payload::read(place.partition.clone(), place.offset, &bytes)
        };
        Ok(places.iter().zip(found).filter_map(read).collect())
    }

    /// Takes rows away that the sheet holds, or that are parked as dead letters, as its mark says.
    pub(crate) async fn remove(&self, members: &[String], mark: &Mark) -> Result<(), Failure> {
        let mut script = self.script(&REMOVE);
        let lows: Vec<_> = mark.positions.lows().collect();
        script.arg(self.bound).arg(mark.began).arg(lows.len());
        for (topic, number, low) in lows {
            script.arg(format!("{number}|{topic}")).arg(low);
        }
        script.arg(members);
        self.redis.invoke(&script).await
    }

    /// Drops what is kept for a tab that is not there any more.
    pub(crate) async fn forget(&self, tab: Option<i64>) -> Result<(), Failure> {
        let mut script = self.script(&FORGET);
        script.arg(tab.map_or_else(String::new, |tab| tab.to_string()));
        self.redis.invoke(&script).await
    }

    fn script<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in &self.keys {
            invocation.key(key);
        }
        invocation
    }
}

// === impl Look ===

impl Look {
    /// None if a part of it cannot be read. To leave that out would say that it is done with.
    fn read(state: &[String], rows: &[String]) -> Option<Self> {
        let state: HashMap<&str, &str> = pairs(state).collect();
        let number = |field: &str| state.get(field)?.parse::<i64>().ok();
        let partitions = state.keys().filter_map(|field| field.strip_prefix("fill:"));
        let filled = partitions.map(|partition| {
            Some(Filled {
                start: number(&format!("start:{partition}"))?,
                next: number(&format!("next:{partition}"))?,
                due: number(&format!("due:{partition}")),
                partition: read_partition(partition)?,
            })
        });
        Some(Self {
            tab: number("tab"),
            filled: filled.collect::<Option<_>>()?,
            places: pairs(rows).map(Place::read).collect::<Option<_>>()?,
            held: number("held"),
            is_full: state.contains_key("full"),
        })
    }

    /// Rows that were submitted until then are due, in microseconds since 1970: every partition has been read so far, or
    /// they have been held back for long enough.
    pub(crate) fn due(&self) -> Option<i64> {
        let all = self.filled.iter().map(|one| one.due).min().flatten();
        all.max(self.held)
    }
}

// === impl Place ===

impl Place {
    fn read((member, time): (&str, &str)) -> Option<Self> {
        let mut parts = member.rsplitn(4, '|');
        let (topic, number, offset) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            time: time.parse().ok()?,
            partition: Partition {
                topic: topic.into(),
                number: number.parse().ok()?,
            },
            offset: offset.parse().ok()?,
            member: member.to_owned(),
        })
    }

    /// Its name in Redis.
    pub(crate) fn member(&self) -> &str {
        &self.member
    }
}

/// Rows of one time stand in the order of their names, which begin with the id as `Key` does.
pub(crate) fn member(key: &Key) -> String {
    let (offset, partition) = (key.offset, name(&key.partition));
    format!("{}|{offset:020}|{partition}", key.id)
}

fn name(partition: &Partition) -> String {
    format!("{}|{}", partition.number, partition.topic)
}

fn read_partition(name: &str) -> Option<Partition> {
    let (number, topic) = name.split_once('|')?;
    Some(Partition {
        topic: topic.into(),
        number: number.parse().ok()?,
    })
}

fn pairs(flat: &[String]) -> impl Iterator<Item = (&str, &str)> {
    flat.chunks_exact(2)
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_read_is_never_taken_for_absent() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let filled = texts(&[
            "tab",
            "7",
            "fill:3|rows",
            "x",
            "start:3|rows",
            "5",
            "next:3|rows",
            "9",
        ]);
        let row = texts(&["an|id|00000000000000000008|3|rows", "9007199254740992"]);
        let look = Look::read(&filled, &row).unwrap();
        assert_eq!((look.filled[0].start, look.filled[0].next), (5, 9));
        assert_eq!((look.places[0].time, look.places[0].offset), (MAX_SCORE, 8));
        for damaged in [
            ["an|id|8|3|rows", "2.5e+17"],
            ["3|rows", "1"],
            ["id|x|3|rows", "1"],
        ] {
            assert!(
                Look::read(&filled, &texts(&damaged)).is_none(),
                "{damaged:?}"
            );
        }
        assert!(
            Look::read(&filled[..6], &row).is_none(),
            "where it was read to"
        );
    }
}
