//! One ownership of a tab, from finding its newest mark until the partitions go or somebody else writes: starts
//! writes and chases when they are due, and settles what they bring. It leaves reading Kafka to `worker`.

use std::{future::pending, time::Duration};

use formline_core::{Record, app::Sheets, client, event, record::Partition, retry::Backoff};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    batch::Verdict,
    delivery::{Delivered, Tab, now_ms},
    kafka::{Chased, Upstream},
    mark::{Known, Positions},
    plan::{Limits, Plan},
    row::{self, Row},
};
use crate::{Error, parking::Letter};

/// A tab that is being written.
pub(crate) struct Session {
    plan: Plan,
    tab: Tab,
    upstream: Upstream,
    settings: Sheets,
    delivery: Option<BoxFuture<'static, Delivered>>,
    chase: Option<BoxFuture<'static, Result<Chased, client::Error>>>,
    /// A chase that waits until the sink has read what it found.
    chased: Option<Chased>,
    /// When the next write may begin.
    next_write: Instant,
    /// Waiting times while Google refuses whatever it is given.
    refusals: Backoff,
    letters: Vec<Letter>,
    /// The operator knows that the spreadsheet is nearly full.
    told_of_cells: bool,
}

/// What the session waited for.
#[derive(Debug)]
pub(crate) enum Happened {
    Delivered(Box<Delivered>),
    Chased(Result<Chased, client::Error>),
}

/// What follows from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Settled {
    Nothing,
    /// The mark has moved, and offsets can be committed.
    Written,
    /// The tab is closed: commit, and look for the one that goes on.
    Closed,
    /// Somebody else has written, or the tab is gone: look again.
    Lost,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(known: Known, tab: Tab, upstream: Upstream, settings: &Sheets) -> Self {
        let hold_back_ms = i64::try_from(settings.hold_back.as_millis()).unwrap_or(i64::MAX);
        let limits = Limits {
            rows: settings.batch_rows,
            hold_back_ms,
        };
        Self {
            plan: Plan::new(known, limits).going_on_in(tab.further.first().cloned()),
            tab,
            told_of_cells: false,
            upstream,
            settings: settings.clone(),
            delivery: None,
            chase: None,
            chased: None,
            next_write: Instant::now(),
            refusals: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            letters: Vec::new(),
        }
    }

    /// What the sheet holds.
    pub(crate) fn positions(&self) -> &Positions {
        &self.plan.known().mark.positions
    }

    pub(crate) fn buffered(&self) -> usize {
        self.plan.buffered()
    }

    /// Whether reading should pause until there is room in the buffer.
    pub(crate) fn is_draining(&self) -> bool {
        self.plan.is_draining()
    }

    pub(crate) fn take(&mut self, record: Record) {
        if !self.plan.read(&record.partition, record.offset) {
            return;
        }
        // A replay for another group, of a record that this sink has had.
        if !event::is_for(&record, &self.tab.sink) {
            self.plan.rowless(&record.partition, record.offset);
            return;
        }
        match row::cells(record.value().unwrap_or_default()) {
            Ok(cells) => self.plan.add(Row::new(record, cells), now_ms()),
            Err(why) => {
                let detail = why.to_string();
                self.letters.push(Letter {
                    record,
                    reason: "malformed",
                    detail,
                });
            }
        }
    }

    /// Dead letters to be parked; `parked` must be told of each.
    pub(crate) fn letters(&mut self) -> Vec<Letter> {
        let refused = self.plan.given_up().into_iter().filter_map(|given_up| {
            let record = given_up.row.record?;
            Some(Letter {
                record,
                reason: given_up.reason,
                detail: given_up.detail,
            })
        });
        self.letters.extend(refused);
        std::mem::take(&mut self.letters)
    }

    pub(crate) fn parked(&mut self, record: &Record) {
        self.plan.rowless(&record.partition, record.offset);
    }

    /// Waits for a write or a chase to end. Cancel safe.
    pub(crate) async fn happened(&mut self) -> Happened {
        tokio::select! {
            delivered = end(&mut self.delivery) => Happened::Delivered(Box::new(delivered)),
            chased = end(&mut self.chase) => Happened::Chased(chased),
        }
    }

    /// Waits for the write in hand, if there is one. Cancel safe.
    pub(crate) async fn finish(&mut self) -> Settled {
        if self.delivery.is_none() {
            return Settled::Nothing;
        }
        let delivered = end(&mut self.delivery).await;
        self.settle(Happened::Delivered(Box::new(delivered)))
    }

    pub(crate) fn settle(&mut self, happened: Happened) -> Settled {
        match happened {
            Happened::Chased(Ok(chased)) => self.chased = Some(chased),
            Happened::Chased(Err(error)) => {
                tracing::debug!(%error, sink = self.tab.sink, "how far the line has come is not known");
            }
            Happened::Delivered(delivered) => return self.delivered(*delivered),
        }
        Settled::Nothing
    }

    fn delivered(
        &mut self,
        Delivered {
            batch,
            verdict,
            known_ms,
        }: Delivered,
    ) -> Settled {
        match verdict {
            Verdict::Written => {
                let lines = self.plan.written(batch, known_ms);
                self.refusals.reset();
                self.tab.metrics.written(&lines, self.plan.known().cells);
                if self.plan.is_closed() {
                    return Settled::Closed;
                }
                self.tell_of_cells();
                Settled::Written
            }
            Verdict::Refused(why) => {
                self.next_write = Instant::now();
                if let Some(why) = self.plan.refused(batch, why, now_ms()) {
                    let wait = self.refusals.delay();
                    tracing::error!(
                        sink = self.tab.sink,
                        why,
                        ?wait,
                        "google sheets takes no row; rows wait in kafka"
                    );
                    self.next_write += wait;
                }
                Settled::Nothing
            }
            Verdict::Overtaken | Verdict::Gone => {
                tracing::warn!(sink = self.tab.sink, ?verdict, "looking at the tab again");
                Settled::Lost
            }
        }
    }

    /// Says once, while there is still time, that the spreadsheet is nearly full and no other one is named.
    fn tell_of_cells(&mut self) {
        let last = self.tab.further.is_empty();
        if last && !self.told_of_cells && self.plan.is_nearly_full() {
            self.told_of_cells = true;
            tracing::error!(
                sink = self.tab.sink,
                spreadsheet = self.tab.spreadsheet,
                cells = self.plan.known().cells,
                "the spreadsheet is nearly full; add another one to `spreadsheet` in the app, or rows will wait in kafka"
            );
        }
    }

    /// Starts what is due. `read` says where each partition will be read next, and control records can carry that
    /// beyond the last record.
    pub(crate) fn advance(
        &mut self,
        assigned: &[Partition],
        read: &[(Partition, i64)],
    ) -> Result<(), Error> {
        if let Some(chased) = self
            .chased
            .take_if(|chased| is_read(&self.plan, chased, assigned, read))
        {
            self.plan
                .complete_until(chased.time - micros(self.settings.grace));
        }
        if self.delivery.is_none() && Instant::now() >= self.next_write {
            self.write()?;
        }
        let grace = micros(self.settings.grace);
        let now = Timestamp::now().as_microsecond();
        let helps = self
            .plan
            .waits_for()
            .is_some_and(|time| time.saturating_add(grace) <= now);
        if helps && self.chase.is_none() && self.chased.is_none() {
            self.chase = Some(Box::pin(self.upstream.clone().chase()));
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        if self.plan.known().next_id().is_none() {
            return Err(Error::TabUsedUp {
                tab: self.tab.title.clone(),
            });
        }
        if let Some(batch) = self.plan.next_batch(now_ms()) {
            self.next_write = Instant::now() + self.settings.flush_interval;
            self.delivery = Some(Box::pin(self.tab.clone().deliver(batch)));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Waits for a future that may not be there, and takes it away when it has ended.
async fn end<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = slot else {
        return pending().await;
    };
    let value = future.await;
    *slot = None;
    value
}

/// Whether everything that a chase found on our partitions has been read.
fn is_read(
    plan: &Plan,
    chased: &Chased,
    assigned: &[Partition],
    read: &[(Partition, i64)],
) -> bool {
    assigned.iter().all(|partition| {
        let end = |(topic, number, _): &&(String, i32, i64)| {
            *topic == *partition.topic && *number == partition.number
        };
        let end = chased.ends.iter().find(end).map_or(0, |(_, _, end)| *end);
        let position = read
            .iter()
            .find(|(known, _)| known == partition)
            .map(|(_, next)| *next);
        end == 0
            || position
                .max(plan.next(partition))
                .is_some_and(|next| next >= end)
    })
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
