//! Writes what a session has read to Redis, in writes of a limited size and with retries for as
//! long as it takes.

use std::{iter::Peekable, time::Duration};

use formline_core::{kafka::record::Partition, retry::Backoff, telemetry::HealthCheck};

use super::redis_queue::{Fill, QueueWrite, RedisQueue, WriteOutcome};
use crate::{
    error::Error,
    redis::ScriptError,
    sheets::{log::row::SheetRow, tab_writer::now_ms},
};

/// The result of a round of writes: where a new owner would begin to read each partition, and how
/// many rows wait. `None` if Redis has lost data.
pub(crate) type WritesResult = Result<Option<(Vec<(Partition, i64)>, usize)>, Error>;

/// The most rows of one write, and the most bytes if it has more than one row. A script with more
/// would block Redis.
const MAX_ROWS: usize = 500;
const MAX_BYTES: usize = 1 << 20;

/// Splits a write into writes of a limited size, at least one. The last one carries the watermark.
pub(super) fn split(write: QueueWrite) -> Vec<QueueWrite> {
    let mut rows = write.rows.into_iter().peekable();
    let (mut writes, mut expected) = (Vec::new(), write.expected);
    loop {
        let some = some_of(&mut rows);
        let is_last = rows.peek().is_none();
        let next = rows.peek().map_or(write.next, |row| row.key.offset);
        writes.push(QueueWrite {
            partition: write.partition.clone(),
            fill_id: write.fill_id.clone(),
            expected,
            next,
            due: write.due.filter(|_| is_last),
            rows: some,
        });
        expected = next;
        if is_last {
            return writes;
        }
    }
}

fn some_of(rows: &mut Peekable<impl Iterator<Item = SheetRow>>) -> Vec<SheetRow> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next_if(|row| {
        let has_room = some.len() < MAX_ROWS && bytes + row.size() <= MAX_BYTES;
        some.is_empty() || has_room
    }) {
        bytes += row.size();
        some.push(row);
    }
    some
}

/// Makes the writes, with retries for as long as it takes, and reports in the health of the sink
/// what it waits for.
pub(super) async fn write_all(
    queue: RedisQueue,
    health: HealthCheck,
    sink: String,
    partitions: Vec<(Option<Fill>, Vec<QueueWrite>)>,
) -> WritesResult {
    let mut backoff = RedisBackoff::new(sink, health);
    let (mut lows, mut queued) = (Vec::new(), 0);
    for (fill, writes) in partitions {
        if let Some(fill) = fill {
            while let Err(error) = queue.start_fill(&fill).await {
                backoff.failed(error).await?;
            }
        }
        for write in writes {
            loop {
                match queue.write(&write, now_ms()).await {
                    Ok(WriteOutcome::Done { count, low }) => {
                        queued = count;
                        lows.extend(low.map(|low| (write.partition.clone(), low)));
                        break;
                    }
                    Ok(WriteOutcome::Full) => backoff.wait("the queue in redis is full").await,
                    Ok(WriteOutcome::Lost) => return Ok(None),
                    Err(error) => backoff.failed(error).await?,
                }
            }
        }
    }
    backoff.succeeded();
    Ok(Some((lows, queued)))
}

/// Delays between attempts. The first failure is logged as a warning.
struct RedisBackoff {
    sink: String,
    health: HealthCheck,
    backoff: Backoff,
    has_warned: bool,
    has_failed: bool,
}

impl RedisBackoff {
    fn new(sink: String, health: HealthCheck) -> Self {
        Self {
            sink,
            health,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
            has_warned: false,
            has_failed: false,
        }
    }

    async fn failed(&mut self, error: ScriptError) -> Result<(), Error> {
        let why = error.to_string();
        if let ScriptError::Rejected(_) = error {
            return Err(Error::Redis(why));
        }
        self.has_failed = true;
        self.health.waiting(why.clone());
        self.wait(&why).await;
        Ok(())
    }

    fn succeeded(self) {
        if self.has_failed {
            self.health.ready();
        }
    }

    async fn wait(&mut self, why: &str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                sink = self.sink,
                why,
                "cannot write to redis; rows wait in kafka"
            );
        }
        tokio::time::sleep(self.backoff.delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheets::log::row::tests::row_of;

    #[test]
    fn writes_are_contiguous_and_small() {
        let write = |rows: Vec<SheetRow>| QueueWrite {
            partition: Partition {
                topic: "rows".into(),
                number: 3,
            },
            fill_id: "f".to_owned(),
            expected: 5,
            next: 9_000,
            due: Some(7),
            rows,
        };
        let none = split(write(Vec::new()));
        assert_eq!((none.len(), none[0].due), (1, Some(7)));
        for (count, bytes, writes) in [(1_001, 1, 3), (5, MAX_BYTES * 2, 5), (8, MAX_BYTES / 5, 4)]
        {
            let rows = (0..count).map(|offset| row_of(3, 10 + offset, bytes));
            let split = split(write(rows.collect()));
            assert_eq!(split.len(), writes, "{count} rows of {bytes} bytes");
            let mut expected = 5;
            for (index, one) in split.iter().enumerate() {
                let is_last = index + 1 == writes;
                assert_eq!((one.expected, one.due.is_some()), (expected, is_last));
                assert!(one.rows.iter().all(|row| row.key.offset < one.next));
                expected = one.next;
            }
            assert_eq!(expected, 9_000);
        }
    }
}
