//! What a session does with what was read: a batch of each partition, and one transaction for all of them.

use std::time::{Duration, Instant};

use formline_core::{record::Partition, transaction};

use super::{Session, Shown};
use crate::{
    batch::Finished,
    error::Error,
    state::Broken,
    trial::{FEW, Score},
    worker::{
        lane::{self, Worked},
        publish::Round,
    },
};

/// No further partition begins a batch in a round that has lasted so long: the round has to be published, and the
/// consumer polled, well before `max.poll.interval.ms` (5 minutes), and a batch may take a minute.
const ROUND: Duration = Duration::from_secs(10);

/// The same if it has led to so many bytes, which have to fit into a transaction of some seconds.
const BYTES: usize = 32 << 20;

// === impl Session ===

impl Session<'_> {
    /// Lets the plug-in work on one batch of each partition that has one; or on a single event, while it is doubtful
    /// whether Kafka takes what is made of it.
    pub(super) fn work(&mut self) -> Result<Vec<Finished>, Error> {
        let doubtful = self.doubtful();
        let turns = match &doubtful {
            Some(partition) => vec![partition.clone()],
            None => self.turns(),
        };
        let (begun, mut round, mut pause) = (Instant::now(), Vec::<Finished>::new(), None);
        for partition in turns {
            let bytes: usize = round.iter().map(Finished::bytes).sum();
            if begun.elapsed() >= ROUND || bytes >= BYTES {
                break;
            }
            match self.work_on(&partition, doubtful.is_some())? {
                Worked::Done(finished) => round.extend(finished),
                Worked::Migrating => {
                    let lane = self.lanes.get(&partition.number);
                    // A rehearsal changes nothing.
                    if lane.is_some_and(|lane| lane.stores.has_changes()) {
                        self.worker.tally.note_migration();
                    }
                }
                Worked::Failed(given_up) => {
                    round.extend(given_up);
                    let delay = self.alarm.note(Instant::now());
                    pause = delay
                        .map(|delay| (delay, "it fails too often".to_owned()))
                        .or(pause);
                }
                Worked::Broken(failure) => {
                    self.worker.metrics.trap(failure.reason);
                    // It fails whatever comes: a new plug-in has shown enough.
                    self.worker.tally.add(Score::failures_only(FEW));
                    pause = Some((self.alarm.pause(Instant::now()), failure.to_string()));
                    break;
                }
            }
            self.last = Some(partition);
        }
        if let Some((delay, problem)) = pause {
            self.pause(delay, problem);
        }
        Ok(round)
    }

    fn work_on(&mut self, partition: &Partition, is_alone: bool) -> Result<Worked, Error> {
        let (Some(input), Some(lane)) = (
            self.inputs.get_mut(partition),
            self.lanes.get_mut(&partition.number),
        ) else {
            return Ok(Worked::Done(None));
        };
        let mut events = if is_alone {
            input.take_one()
        } else {
            input.take()
        };
        let recognised = lane.recognise(self.worker, input, &mut events);
        let worked = match events.first().and_then(|first| self.doubt.verdict(first)) {
            Some(verdict) => Ok(lane::park(input, events, verdict)),
            None => lane.work(self.worker, &self.plugin, input, events),
        };
        recognised.and(worked).or_else(|Broken| lane.fail())
    }

    /// Partitions that have something to work on, behind the one that had the last turn first.
    fn turns(&self) -> Vec<Partition> {
        let ready = self.inputs.iter().filter(|(_, input)| input.is_ready());
        let mut turns: Vec<_> = ready.map(|(partition, _)| partition.clone()).collect();
        let behind = turns
            .iter()
            .position(|partition| Some(partition) > self.last.as_ref());
        turns.rotate_left(behind.unwrap_or(0));
        turns
    }

    /// The first partition whose next event has to go alone.
    fn doubtful(&self) -> Option<Partition> {
        let concerned = self.inputs.iter().find(|(_, input)| {
            input.is_ready()
                && input
                    .first()
                    .is_some_and(|event| self.doubt.concerns(event))
        });
        concerned.map(|(partition, _)| partition.clone())
    }

    /// Pauses the whole step: an operator should look, and the events should wait for it.
    fn pause(&mut self, delay: Duration, problem: String) {
        let (step, plugin) = (self.worker.step.title(), &self.plugin.label);
        tracing::error!(step, plugin, ?delay, problem, "the step pauses");
        self.worker.metrics.pause();
        // Another pause may have another reason.
        self.shown = Shown::Working;
        self.paused = Some((Instant::now() + delay, problem));
    }

    /// Ends pauses whose time is over, and tells the consumer which partitions to fetch.
    pub(super) fn apply_pauses(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.paused.take_if(|(until, _)| *until <= now);
        let is_step_paused = self.paused.is_some();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (partition, input) in &mut self.inputs {
            match input.change_pause(now, is_step_paused) {
                Some(true) => pause.push(partition.clone()),
                Some(false) => resume.push(partition.clone()),
                None => {}
            }
        }
        for (partitions, is_pause) in [(pause, true), (resume, false)] {
            if !partitions.is_empty() {
                self.consumer.pause(&partitions, is_pause)?;
            }
        }
        Ok(())
    }

    pub(super) fn publish(&mut self, finished: &[Finished]) -> Result<(), Error> {
        let next: Vec<_> = finished
            .iter()
            .map(|done| (done.source.partition.clone(), done.next_offset()))
            .collect();
        match self.commit(finished, &next) {
            Err(Error::Transaction(refusal @ transaction::Error::Refused(_)))
                if !self.doubt.note(finished, &refusal) =>
            {
                Err(Error::DeadLetter {
                    topic: self.worker.step.dead_letter_topic(),
                    source: Box::new(refusal),
                })
            }
            published => published,
        }
    }

    /// Moves the committed offsets behind what is not for readers: markers of transactions, and aborted records. So an
    /// offset that equals the end of a topic says that everything has passed. In a transaction like all others, because
    /// a plain commit could arrive after the next transaction's and set the group back.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        let mut next = self.consumer.positions()?;
        next.retain(|(partition, position)| {
            let input = self.inputs.get(partition);
            input.is_some_and(|input| input.is_empty() && input.committed < *position)
        });
        if next.is_empty() {
            Ok(())
        } else {
            self.commit(&[], &next)
        }
    }

    pub(super) fn commit(
        &mut self,
        finished: &[Finished],
        next: &[(Partition, i64)],
    ) -> Result<(), Error> {
        let next = self.with_changed(next);
        let next = next.as_slice();
        let (worker, plugin, lanes) = (self.worker, &self.plugin, &self.lanes);
        let round = Round {
            worker,
            plugin,
            finished,
            lanes,
            next,
        };
        let ends = round.publish(&mut self.transactions, &self.consumer)?;
        self.failures = 0;
        for (number, lane) in &mut self.lanes {
            lane.stores.commit(ends.get(number).copied());
        }
        for (partition, next) in next {
            worker.committed.set(partition, *next);
            self.doubt.forget(partition, *next);
            let Some(input) = self.inputs.get_mut(partition) else {
                continue;
            };
            input.committed = *next;
            if let (true, Some(lane)) = (input.is_form, self.lanes.get_mut(&partition.number)) {
                lane.stores.know_submissions(&partition.topic, *next);
            }
        }
        Ok(())
    }

    /// Adds the present offsets of partitions whose stores have changed without them: Kafka refuses them to a worker that
    /// has lost the partition, and so its changes. The changed stores learn how far they contain their inputs.
    fn with_changed(&mut self, next: &[(Partition, i64)]) -> Vec<(Partition, i64)> {
        let mut next = next.to_vec();
        for (number, lane) in &mut self.lanes {
            if !lane.stores.has_changes() {
                continue;
            }
            for (partition, input) in &self.inputs {
                if partition.number == *number && !next.iter().any(|(known, _)| known == partition)
                {
                    next.push((partition.clone(), input.committed));
                }
            }
            lane.stores.end_events();
            for (partition, offset) in &next {
                if partition.number == *number {
                    lane.stores.set_input(&partition.topic, *offset);
                }
            }
        }
        next
    }
}
