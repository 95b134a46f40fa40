//! The rows of one sink that wait in Redis: a sorted set by time of submission, their records, and
//! how far each partition has been read into the queue. Every change is one script. A replica holds
//! a prefix of the commands, so it holds a state that was valid once, and the statements of that
//! state (this offset is done, all rows up to this time have arrived) remain valid for the same
//! tab.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use formline_core::{Record, kafka::record::Partition};
use redis::{Script, ScriptInvocation};

use super::{
    payload,
    redis_scripts::{CLEAR, FETCH, REMOVE, SNAPSHOT, START_FILL, WRITE},
    redis_snapshot::{QueuedRow, RawPartition, Snapshot, name},
};
use crate::{
    redis::{Redis, ScriptError},
    sheets::log::{checkpoint::Checkpoint, row::SheetRow},
};

/// Access to the rows of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RedisQueue {
    redis: Redis,
    /// All keys of a sink have one hash tag, so that a cluster keeps them on one server.
    keys: [String; 5],
    /// The most rows that may wait.
    max_rows: usize,
}

/// The start of a fill: one session that writes what it reads of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) partition: Partition,
    /// Identifies the fill. A new fill of a partition ends the earlier ones.
    pub(crate) id: String,
    pub(crate) start: i64,
    /// `first_created_ms` of the checkpoint that tells where the fill starts.
    pub(crate) tab: i64,
}

/// What one write adds: the offsets of a partition from `expected` up to `next`.
#[derive(Clone, Debug)]
pub(crate) struct QueueWrite {
    pub(crate) partition: Partition,
    pub(crate) fill_id: String,
    pub(crate) expected: i64,
    pub(crate) next: i64,
    /// The watermark: all rows that were submitted until then have been read. In microseconds since
    /// 1970.
    pub(crate) due: Option<i64>,
    pub(crate) rows: Vec<SheetRow>,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WriteOutcome {
    Done {
        /// Rows in the queue.
        count: usize,
        /// Where a new owner would begin to read, as the last flush has recorded.
        low: Option<i64>,
    },
    /// The queue is full.
    Full,
    /// Redis has lost data, or another session fills the partition. Start a new fill.
    Lost,
}

/// Redis stores scores as doubles, which are exact for microseconds since 1970 until the year 2255.
/// A later row waits among the rows of that moment; its position in the sheet depends on its
/// record.
const MAX_SCORE: i64 = 1 << 53;

/// The most rows of a snapshot by offset, over all partitions. Which of the offsets after them are
/// done is unknown, so a checkpoint records those later.
const SNAPSHOT_OFFSETS: usize = 1_000;

/// The most bytes of records that are fetched at once, but at least one record. The others are
/// fetched when these are written.
const FETCH_BYTES: usize = 2 << 20;

/// The most rows that one script removes, so that it does not block Redis.
const REMOVE_ROWS: usize = 1_000;

// === impl RedisQueue ===

impl RedisQueue {
    /// The queue of the sink with this consumer group and first spreadsheet. Installations may
    /// share a Redis and the names of their apps, each with its own Kafka, but not a spreadsheet,
    /// because a sink has one tab in it.
    pub(crate) fn new(redis: Redis, group: &str, spreadsheet: &str, max_rows: usize) -> Self {
        let key = |name| format!("{{{group}:{spreadsheet}}}:{name}");
        Self {
            redis,
            keys: ["rows", "payloads", "state", "held", "offsets"].map(key),
            max_rows,
        }
    }

    /// The number of connections to Redis so far.
    pub(crate) fn generation(&self) -> u64 {
        self.redis.generation()
    }

    /// Starts a new fill of a partition, and removes the rows of the earlier ones.
    pub(crate) async fn start_fill(&self, fill: &Fill) -> Result<(), ScriptError> {
        let mut script = self.script(&START_FILL);
        script.arg(name(&fill.partition)).arg(&fill.id);
        script.arg(fill.start).arg(fill.tab);
        self.redis.invoke(&script).await
    }

    /// Adds what was read.
    pub(crate) async fn write(
        &self,
        write: &QueueWrite,
        now_ms: i64,
    ) -> Result<WriteOutcome, ScriptError> {
        let mut script = self.script(&WRITE);
        let due = write.due.map_or_else(String::new, |due| due.to_string());
        script.arg(name(&write.partition)).arg(&write.fill_id);
        script.arg(write.expected).arg(write.next).arg(due);
        script.arg(self.max_rows).arg(now_ms);
        for row in &write.rows {
            if let Some(record) = &row.record {
                let score = row.key.time.clamp(-MAX_SCORE, MAX_SCORE);
                let queued = QueuedRow::of(&row.key);
                script.arg(score);
                script.arg(queued.member()).arg(queued.by_offset());
                script.arg(payload::write(record));
            }
        }
        let answer: Vec<String> = self.redis.invoke(&script).await?;
        let number = |index: usize| answer.get(index).and_then(|text| text.parse().ok());
        Ok(match answer.first().map(String::as_str) {
            Some("done") => WriteOutcome::Done {
                count: number(1)
                    .and_then(|count: i64| usize::try_from(count).ok())
                    .unwrap_or_default(),
                low: number(2),
            },
            Some("full") => WriteOutcome::Full,
            _ => WriteOutcome::Lost,
        })
    }

    /// The waiting rows without their content, at most `rows` of them by time. `None` if Redis has
    /// lost a part of the queue.
    pub(crate) async fn snapshot(
        &self,
        held_before_ms: i64,
        rows: usize,
    ) -> Result<Option<Snapshot>, ScriptError> {
        let mut script = self.script(&SNAPSHOT);
        script.arg(held_before_ms).arg(rows).arg(SNAPSHOT_OFFSETS);
        let answer: Option<(Vec<String>, Vec<String>, Vec<RawPartition>)> =
            self.redis.invoke(&script).await?;
        let read = |(state, rows, lowest): (Vec<_>, Vec<_>, Vec<_>)| {
            Snapshot::read(&state, &rows, &lowest).ok_or_else(|| self.damaged())
        };
        answer.map(read).transpose()
    }

    /// The records of the first of these rows, up to a limit in bytes. A row that another flusher
    /// has removed meanwhile is left out.
    pub(crate) async fn fetch(&self, rows: &[QueuedRow]) -> Result<Vec<Record>, ScriptError> {
        let mut script = self.script(&FETCH);
        script.arg(FETCH_BYTES);
        for row in rows {
            script.arg(row.member());
        }
        let found: Vec<Vec<u8>> = self.redis.invoke(&script).await?;
        let read = |(row, bytes): (&QueuedRow, Vec<u8>)| {
            payload::read(row.partition.clone(), row.offset, &bytes)
        };
        Ok(rows.iter().zip(found).filter_map(read).collect())
    }

    /// Removes rows that the sheet holds or that were dead-lettered, as its checkpoint says.
    pub(crate) async fn remove(
        &self,
        rows: &[QueuedRow],
        checkpoint: &Checkpoint,
    ) -> Result<(), ScriptError> {
        for rows in rows.chunks(REMOVE_ROWS) {
            let mut script = self.script(&REMOVE);
            let lows: Vec<_> = checkpoint.positions.lows().collect();
            script
                .arg(self.max_rows)
                .arg(checkpoint.first_created_ms)
                .arg(lows.len());
            for (topic, number, low) in lows {
                script.arg(format!("{number}|{topic}")).arg(low);
            }
            for row in rows {
                script.arg(row.member()).arg(row.by_offset());
            }
            self.redis.invoke::<()>(&script).await?;
        }
        Ok(())
    }

    /// Removes everything that is stored for a tab that no longer exists.
    pub(crate) async fn clear(&self, tab: Option<i64>) -> Result<(), ScriptError> {
        let mut script = self.script(&CLEAR);
        script.arg(tab.map_or_else(String::new, |tab| tab.to_string()));
        self.redis.invoke(&script).await
    }

    /// If one key is missing, all are removed, and the session that fills the queue starts again.
    fn damaged(&self) -> ScriptError {
        let key = &self.keys[2];
        ScriptError::Rejected(format!(
            "the waiting rows cannot be read; delete the key {key} to read them from kafka again"
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
