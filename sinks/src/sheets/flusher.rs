//! Writes the rows that wait in Redis and are due, from any process: the sheet's mark decides which of several flushers
//! wins. The loser looks again, and finds the rows of the winner in the mark.

use std::collections::BTreeSet;

use formline_core::{app::Sheets, record::Partition};

use super::{
    batch::Verdict,
    delivery::{Tab, now_ms},
    kafka::Upstream,
    mark::Known,
    plan::{Limits, Plan},
    row::{self, Row},
    waiting::{Filled, Look, Place, Waiting},
};
use crate::{
    Error,
    parking::{Letter, Parking},
    redis::Failure,
};

/// Brings rows from Redis to a tab.
#[derive(Debug)]
pub(crate) struct Flusher {
    tab: Tab,
    upstream: Upstream,
    waiting: Waiting,
    parking: Parking,
    limits: Limits,
    /// The newest mark, until somebody else has written.
    known: Option<Known>,
    /// Rows that were to blame for a refusal, one after another: after some it must be the sheet's fault.
    blamed: usize,
    /// The operator knows that the spreadsheet is nearly full.
    told_of_cells: bool,
}

/// How a flush has ended.
#[derive(Debug)]
pub(crate) enum Flush {
    /// So many rows were written; none if none was due.
    Written(usize),
    /// Google takes no row, whichever it is given. Try again, slowly.
    Refused(String),
    /// Redis cannot be asked. Try again.
    Away(Failure),
    /// The shutdown came first.
    Shutdown,
}

/// Why a flush did not come to its end.
enum Hitch {
    Away(Failure),
    Lasting(Error),
}

/// Gaps between what is written and what waits, of all partitions. The mark has to name each; at this bound the rows with
/// the lowest offsets are written first, which closes gaps, and later ones may become late.
const MAX_GAPS: usize = 500;

// === impl Flusher ===

impl Flusher {
    pub(crate) fn new(
        tab: Tab,
        upstream: Upstream,
        waiting: Waiting,
        parking: Parking,
        settings: &Sheets,
    ) -> Self {
        let hold_back_ms = i64::try_from(settings.hold_back.as_millis()).unwrap_or(i64::MAX);
        Self {
            tab,
            upstream,
            waiting,
            parking,
            limits: Limits {
                rows: settings.batch_rows,
                hold_back_ms,
            },
            known: None,
            blamed: 0,
            told_of_cells: false,
        }
    }

    /// Where a new owner would begin to read a partition, by the newest mark that is known.
    pub(crate) fn low(&self, partition: &Partition) -> Option<i64> {
        let mark = &self.known.as_ref()?.mark;
        Some(mark.positions.get(partition)?.low())
    }

    /// Writes the earliest rows that are due, at most `batch_rows`.
    pub(crate) async fn flush(&mut self) -> Result<Flush, Error> {
        match self.try_flush().await {
            Ok(flush) => Ok(flush),
            Err(Hitch::Away(away)) => Ok(Flush::Away(away)),
            Err(Hitch::Lasting(error)) => Err(error),
        }
    }

    async fn try_flush(&mut self) -> Result<Flush, Hitch> {
        loop {
            let held_before = now_ms() - self.limits.hold_back_ms;
            let Some(look) = self.waiting.look(held_before, self.limits.rows).await? else {
                tracing::warn!(
                    sink = self.tab.sink,
                    "redis has lost rows; they are read again"
                );
                return Ok(Flush::Written(0));
            };
            if look.rows.is_empty() {
                return Ok(Flush::Written(0));
            }
            let is_of = |known: &Known| look.tab == Some(known.mark.began);
            let known = match self.known.take().filter(is_of) {
                Some(known) => known,
                None => self.find(&look).await?,
            };
            if !is_of(&known) {
                tracing::warn!(
                    sink = self.tab.sink,
                    "what waits in redis is of a tab that is gone; rows are read again"
                );
                self.waiting.forget(look.tab).await?;
                return Ok(Flush::Written(0));
            }
            let written = already_written(&look, &known);
            self.remove(&written, &known).await?;
            let due = choose(&look, &known, &self.parking.sink.input, self.limits.rows);
            if due.is_empty() && !written.is_empty() {
                // They stood before others in the look.
                self.known = Some(known);
                continue;
            }
            let records = self.waiting.fetch(&due).await?;
            let mut plan = plan(&look, known, self.limits);
            // All that it gets is due.
            plan.complete_until(i64::MAX);
            for record in records {
                // Who put it there has read it as a row.
                if let Ok(cells) = row::cells(record.value().unwrap_or_default()) {
                    plan.add(Row::new(record, cells), now_ms());
                }
            }
            let tab = self.tab.moved_to(&plan.known().mark.spreadsheet)?;
            let plan = plan.going_on_in(tab.further.first().cloned());
            let plan = plan.having_blamed(self.blamed);
            if let Some(flush) = self.write(&tab, plan).await? {
                return Ok(flush);
            }
        }
    }

    /// The newest mark, as a process that has just started finds it.
    async fn find(&self, look: &Look) -> Result<Known, Error> {
        let filled = look.filled.iter();
        let partitions = filled.map(|one| one.partition.clone()).collect();
        let committed = self.upstream.committed_when_kafka_answers(partitions).await;
        self.tab.clone().find(committed).await
    }

    /// Writes until the plan has nothing left. None if somebody else has written meanwhile.
    async fn write(&mut self, tab: &Tab, mut plan: Plan) -> Result<Option<Flush>, Hitch> {
        let mut written = 0;
        while let Some(batch) = plan.next_batch(now_ms()) {
            let (mut hopeless, mut members) = (None, Vec::new());
            let delivered = tab.clone().deliver(batch).await;
            match delivered.verdict {
                Verdict::Written => {
                    let lines = plan.written(delivered.batch, delivered.known_ms);
                    let cells = plan.known().cells;
                    tab.metrics.written(&lines, cells);
                    if plan.is_nearly_full() && !self.told_of_cells {
                        self.told_of_cells = tab.tell_of_cells(cells);
                    }
                    written += lines.len();
                    members.extend(lines.iter().map(|line| Place::of(&line.row.key)));
                }
                Verdict::Refused(why) => {
                    hopeless = plan.refused(delivered.batch, why, now_ms());
                }
                Verdict::Overtaken | Verdict::Gone => return Ok(None),
            }
            self.blamed = plan.blamed();
            let has_parked = self.park(&mut plan, &mut members).await?;
            self.remove(&members, plan.known()).await?;
            if let Some(why) = hopeless {
                return Ok(Some(Flush::Refused(why)));
            }
            if !has_parked || self.parking.outbox.shutdown.has_begun() {
                return Ok(Some(Flush::Shutdown));
            }
        }
        if plan.is_closed() {
            return Ok(None);
        }
        if plan.known().next_id().is_none() {
            let tab = self.tab.title.clone();
            return Err(Error::TabUsedUp { tab }.into());
        }
        self.known = Some(plan.known().clone());
        Ok(Some(Flush::Written(written)))
    }

    /// Parks what the plan has given up, and names it in `members`. False if the shutdown came first.
    async fn park(&self, plan: &mut Plan, members: &mut Vec<Place>) -> Result<bool, Error> {
        for given_up in plan.given_up() {
            let key = given_up.row.key;
            if let Some(record) = given_up.row.record {
                let (reason, detail) = (given_up.reason, given_up.detail);
                let letter = Letter {
                    record,
                    reason: reason.into(),
                    detail,
                    attempts: 1,
                };
                if !self.parking.park(&letter).await? {
                    return Ok(false);
                }
            }
            plan.rowless(&key.partition, key.offset);
            members.push(Place::of(&key));
        }
        Ok(true)
    }

    async fn remove(&self, members: &[Place], known: &Known) -> Result<(), Hitch> {
        if members.is_empty() {
            return Ok(());
        }
        Ok(self.waiting.remove(members, &known.mark).await?)
    }
}

// === impl Hitch ===

impl From<Failure> for Hitch {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(_) | Failure::Denied(_) => Self::Away(failure),
            Failure::Refused(_) => Self::Lasting(Error::Redis(failure.to_string())),
        }
    }
}

impl From<Error> for Hitch {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

/// What is written next: the earliest rows that are due, unless the mark would have to name too many gaps. Partitions of
/// topics that the sink does not read any more are waited for by nobody.
fn choose(look: &Look, known: &Known, inputs: &[String], rows: usize) -> Vec<Place> {
    let is_new = |place: &&Place| !is_in(known, place);
    let due = look.due(inputs).unwrap_or(i64::MIN);
    let places = look.rows.iter();
    let places = places.take_while(|(time, _)| look.is_full || *time <= due);
    let places = places.map(|(_, place)| place).filter(is_new);
    let due: Vec<Place> = places.take(rows).cloned().collect();
    if look.is_full || gaps(look, known, &due) <= MAX_GAPS {
        return due;
    }
    let lowest = look.filled.iter().flat_map(|filled| &filled.lowest);
    let mut lowest: Vec<&Place> = lowest.filter(is_new).collect();
    lowest.sort_by_key(|place| place.offset);
    lowest.into_iter().take(rows).cloned().collect()
}

fn already_written(look: &Look, known: &Known) -> Vec<Place> {
    let written = look.places().filter(|place| is_in(known, place));
    written.cloned().collect()
}

fn is_in(known: &Known, place: &Place) -> bool {
    let offsets = known.mark.positions.get(&place.partition);
    offsets.is_some_and(|offsets| offsets.contains(place.offset))
}

fn plan(look: &Look, known: Known, limits: Limits) -> Plan {
    let mut plan = Plan::new(known, limits);
    for filled in &look.filled {
        let read = filled.start..filled.known;
        plan.read_elsewhere(&filled.partition, read, &offsets(filled));
    }
    plan
}

fn offsets(filled: &Filled) -> BTreeSet<i64> {
    filled.lowest.iter().map(|place| place.offset).collect()
}

/// How many runs of rows the mark would have to name after these were written.
fn gaps(look: &Look, known: &Known, written: &[Place]) -> usize {
    let mut positions = known.mark.positions.clone();
    for filled in &look.filled {
        let read = filled.start..filled.known;
        positions.read_elsewhere(&filled.partition, read, &offsets(filled));
    }
    for place in written {
        let done = positions.of(&place.partition, place.offset);
        done.add_row(place.offset);
    }
    positions.gaps()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{mark::Mark, row::Key},
        *,
    };

    /// Rows at every second offset, as a step writes them that has one in each transaction; each a second after the other.
    fn look(rows: i64, due: i64) -> Look {
        let place = |n: i64| {
            let partition = Partition {
                topic: "rows".into(),
                number: 0,
            };
            Place::of(&Key {
                time: n,
                id: n.to_string(),
                partition,
                offset: 2 * n,
            })
        };
        Look {
            rows: (0..rows).map(|n| (n, place(n))).collect(),
            filled: vec![Filled {
                partition: place(0).partition,
                start: 0,
                due: Some(due),
                lowest: (0..rows).map(place).collect(),
                known: 2 * rows,
            }],
            ..Look::default()
        }
    }

    fn known() -> Known {
        Known {
            id: 1,
            mark: Mark::default(),
            read_ms: 0,
            older: Vec::new(),
            cells: 0,
        }
    }

    fn chosen(look: &Look, input: &str) -> Vec<i64> {
        let chosen = choose(look, &known(), &[input.to_owned()], 10_000);
        chosen.iter().map(|place| place.offset / 2).collect()
    }

    #[test]
    fn what_lies_between_rows_is_no_gap() {
        assert_eq!(chosen(&look(600, 99), "rows"), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn many_gaps_are_closed_before_others_come() {
        // Every second row is early, and those between them are not due yet.
        let mut look = look(1_200, 1_199);
        for (n, row) in look.rows.iter_mut().enumerate().filter(|(n, _)| n % 2 == 0) {
            row.0 = 10_000 + i64::try_from(n).expect("a few");
        }
        look.rows.sort_by_key(|(time, _)| *time);
        assert_eq!(chosen(&look, "rows"), (0..1_200).collect::<Vec<_>>());
    }

    #[test]
    fn a_topic_that_is_not_read_any_more_holds_nothing_back() {
        let mut look = look(3, 1);
        look.filled.push(Filled {
            partition: Partition {
                topic: "old".into(),
                number: 0,
            },
            due: None,
            lowest: Vec::new(),
            ..look.filled[0].clone()
        });
        assert_eq!(chosen(&look, "rows"), [0, 1]);
        assert_eq!(chosen(&look, "old"), [0; 0]);
    }
}
