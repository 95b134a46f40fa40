//! A session whose rows wait in memory: starts writes and chases when they are due, and settles what they bring.

use std::{future::pending, time::Duration};

use formline_core::{Record, app::Sheets, event, record::Partition, retry::Backoff};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::{
    batch::Verdict,
    delivery::{Delivered, Tab, now_ms},
    following::Following,
    kafka::Upstream,
    mark::Known,
    offsets::Offsets,
    plan::{Limits, Plan},
    row::{self, Row},
    session::{Happened, Session, Settled},
};
use crate::{Error, parking::Letter};

/// A tab that is being written.
pub(crate) struct InMemory {
    plan: Plan,
    tab: Tab,
    following: Following,
    flush_interval: Duration,
    delivery: Option<BoxFuture<'static, Delivered>>,
    /// When the next write may begin.
    next_write: Instant,
    /// Waiting times while Google refuses whatever it is given.
    refusals: Backoff,
    letters: Vec<Letter>,
    /// The operator knows that the spreadsheet is nearly full.
    told_of_cells: bool,
}

// === impl InMemory ===

impl InMemory {
    pub(crate) fn new(known: Known, tab: Tab, upstream: Upstream, settings: &Sheets) -> Self {
        let hold_back_ms = i64::try_from(settings.hold_back.as_millis()).unwrap_or(i64::MAX);
        let limits = Limits {
            rows: settings.batch_rows,
            hold_back_ms,
        };
        Self {
            plan: Plan::new(known, limits).going_on_in(tab.further.first().cloned()),
            following: Following::new(&tab.sink, upstream, settings.grace),
            tab,
            flush_interval: settings.flush_interval,
            delivery: None,
            next_write: Instant::now(),
            refusals: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            letters: Vec::new(),
            told_of_cells: false,
        }
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
        if !self.told_of_cells && self.plan.is_nearly_full() {
            self.told_of_cells = self.tab.tell_of_cells(self.plan.known().cells);
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        if let Some(batch) = self.plan.next_batch(now_ms()) {
            self.next_write = Instant::now() + self.flush_interval;
            self.delivery = Some(Box::pin(self.tab.clone().deliver(batch)));
        } else if self.plan.is_used_up() {
            return Err(Error::TabUsedUp {
                tab: self.tab.title.clone(),
            });
        }
        Ok(())
    }
}

impl Session for InMemory {
    /// What the sheet holds.
    fn low(&self, partition: &Partition) -> Option<i64> {
        let positions = &self.plan.known().mark.positions;
        positions.get(partition).map(Offsets::low)
    }

    fn buffered(&self) -> usize {
        self.plan.buffered()
    }

    fn is_draining(&self) -> bool {
        self.plan.is_draining()
    }

    fn take(&mut self, record: Record) {
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
                    reason: "malformed".into(),
                    detail,
                    attempts: 1,
                });
            }
        }
    }

    fn letters(&mut self) -> Vec<Letter> {
        let refused = self.plan.given_up().into_iter().filter_map(|given_up| {
            let record = given_up.row.record?;
            Some(Letter {
                record,
                reason: given_up.reason.into(),
                detail: given_up.detail,
                attempts: 1,
            })
        });
        self.letters.extend(refused);
        std::mem::take(&mut self.letters)
    }

    fn parked(&mut self, record: &Record) {
        self.plan.rowless(&record.partition, record.offset);
    }

    fn advance(&mut self, assigned: &[Partition], read: &[(Partition, i64)]) -> Result<(), Error> {
        let plan = &self.plan;
        let next = |partition: &Partition| {
            let position = read.iter().find(|(known, _)| known == partition);
            position.map(|(_, next)| *next).max(plan.next(partition))
        };
        if let Some(time) = self.following.complete_until(assigned, next) {
            self.plan.complete_until(time);
        }
        if self.delivery.is_none() && Instant::now() >= self.next_write {
            self.write()?;
        }
        self.following.chase_for(self.plan.waits_for());
        Ok(())
    }

    fn happened(&mut self) -> BoxFuture<'_, Happened> {
        let Self {
            delivery,
            following,
            ..
        } = self;
        async {
            tokio::select! {
                delivered = end(delivery) => Happened::Delivered(Box::new(delivered)),
                chased = following.ended() => Happened::Chased(chased),
            }
        }
        .boxed()
    }

    fn settle(&mut self, happened: Happened) -> Result<Settled, Error> {
        Ok(match happened {
            Happened::Delivered(delivered) => self.delivered(*delivered),
            Happened::Chased(chased) => {
                self.following.settle(chased);
                Settled::Nothing
            }
            Happened::Put(_) | Happened::Flushed(_) => Settled::Nothing,
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, Settled> {
        async {
            if self.delivery.is_none() {
                return Settled::Nothing;
            }
            let delivered = end(&mut self.delivery).await;
            self.delivered(delivered)
        }
        .boxed()
    }
}

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemory")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Waits for a future that may not be there, and takes it away when it has ended.
pub(super) async fn end<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = slot else {
        return pending().await;
    };
    let value = future.await;
    *slot = None;
    value
}
