//! What is read on its way to Redis: in puts of a bounded size, for as long as it takes.

use std::{iter::Peekable, time::Duration};

use formline_core::{record::Partition, retry::Backoff, telemetry::Part};

use super::{
    delivery::now_ms,
    row::Row,
    waiting::{Begin, Outcome, Put, Waiting},
};
use crate::{Error, redis::Failure};

/// How a round of puts has ended: where a new owner would begin, and how many rows wait; none if Redis has lost
/// something.
pub(crate) type Ended = Result<Option<(Vec<(Partition, i64)>, usize)>, Error>;

/// Rows of one put, and their bytes, if it is more than one. A script with more would hold Redis up.
const PUT_ROWS: usize = 500;
const PUT_BYTES: usize = 1 << 20;

/// The same in puts of a bounded size; one, if there is nothing in it. Until when everything has come is said with the last
/// one.
pub(super) fn split(put: Put) -> Vec<Put> {
    let mut rows = put.rows.into_iter().peekable();
    let (mut puts, mut expected) = (Vec::new(), put.expected);
    loop {
        let some = some_of(&mut rows);
        let is_last = rows.peek().is_none();
        let next = rows.peek().map_or(put.next, |row| row.key.offset);
        puts.push(Put {
            partition: put.partition.clone(),
            fill: put.fill.clone(),
            expected,
            next,
            due: put.due.filter(|_| is_last),
            rows: some,
        });
        expected = next;
        if is_last {
            return puts;
        }
    }
}

fn some_of(rows: &mut Peekable<impl Iterator<Item = Row>>) -> Vec<Row> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next_if(|row| {
        let has_room = some.len() < PUT_ROWS && bytes + row.size() <= PUT_BYTES;
        some.is_empty() || has_room
    }) {
        bytes += row.size();
        some.push(row);
    }
    some
}

/// Puts everything, for as long as it takes, and says in the sink's health what it waits for.
pub(super) async fn put_all(
    waiting: Waiting,
    part: Part,
    sink: String,
    partitions: Vec<(Option<Begin>, Vec<Put>)>,
) -> Ended {
    let mut patience = Patience::new(sink, part);
    let (mut lows, mut count) = (Vec::new(), 0);
    for (begin, puts) in partitions {
        if let Some(begin) = begin {
            while let Err(failure) = waiting.begin(&begin).await {
                patience.failed(failure).await?;
            }
        }
        for put in puts {
            loop {
                match waiting.put(&put, now_ms()).await {
                    Ok(Outcome::Done { count: all, low }) => {
                        count = all;
                        lows.extend(low.map(|low| (put.partition.clone(), low)));
                        break;
                    }
                    Ok(Outcome::Full) => patience.wait("redis holds as many rows as it may").await,
                    Ok(Outcome::Lost) => return Ok(None),
                    Err(failure) => patience.failed(failure).await?,
                }
            }
        }
    }
    patience.end();
    Ok(Some((lows, count)))
}

/// Waits between attempts, and tells the operator once.
struct Patience {
    sink: String,
    part: Part,
    backoff: Backoff,
    told: bool,
    has_failed: bool,
}

impl Patience {
    fn new(sink: String, part: Part) -> Self {
        Self {
            sink,
            part,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
            told: false,
            has_failed: false,
        }
    }

    async fn failed(&mut self, failure: Failure) -> Result<(), Error> {
        let why = failure.to_string();
        if let Failure::Refused(_) = failure {
            return Err(Error::Redis(why));
        }
        self.has_failed = true;
        self.part.waiting(why.clone());
        self.wait(&why).await;
        Ok(())
    }

    fn end(self) {
        if self.has_failed {
            self.part.ready();
        }
    }

    async fn wait(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(sink = self.sink, why, "rows wait in kafka");
        }
        tokio::time::sleep(self.backoff.delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheets::row::tests::row_of;

    #[test]
    fn puts_continue_each_other_and_are_small() {
        let put = |rows: Vec<Row>| Put {
            partition: Partition {
                topic: "rows".into(),
                number: 3,
            },
            fill: "f".to_owned(),
            expected: 5,
            next: 9_000,
            due: Some(7),
            rows,
        };
        let none = split(put(Vec::new()));
        assert_eq!((none.len(), none[0].due), (1, Some(7)));
        for (count, bytes, puts) in [(1_001, 1, 3), (5, PUT_BYTES * 2, 5), (8, PUT_BYTES / 5, 4)] {
            let rows = (0..count).map(|offset| row_of(3, 10 + offset, bytes));
            let split = split(put(rows.collect()));
            assert_eq!(split.len(), puts, "{count} rows of {bytes} bytes");
            let mut expected = 5;
            for (index, one) in split.iter().enumerate() {
                let is_last = index + 1 == puts;
                assert_eq!((one.expected, one.due.is_some()), (expected, is_last));
                assert!(one.rows.iter().all(|row| row.key.offset < one.next));
                expected = one.next;
            }
            assert_eq!(expected, 9_000);
        }
    }
}
