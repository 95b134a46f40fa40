//! Processing: a batch of each partition, and pauses of the step.

use std::time::{Duration, Instant};

use formline_core::kafka::record::Partition;

use super::membership::{ReportedState, Session};
use crate::{
    batch::Finished,
    error::Error,
    hot_swap::{MIN_FAILURES, Score},
    state::StoreFailed,
    worker::partition_task::{self, WorkResult},
};

/// After this time no further partition starts a batch in the round. The round must be published
/// and the consumer polled well within `max.poll.interval.ms` (5 minutes), and a batch may take a
/// minute.
const ROUND: Duration = Duration::from_secs(10);

/// The same after this many bytes of outputs, which must fit into a transaction of a few seconds.
const BYTES: usize = 32 << 20;

// === impl Session ===

impl Session<'_> {
    /// Lets the plug-in process one batch of each partition that has one; or a single event, while
    /// a poison event is being isolated.
    pub(super) fn work(&mut self) -> Result<Vec<Finished>, Error> {
        let isolated = self.isolated();
        let turns = match &isolated {
            Some(partition) => vec![partition.clone()],
            None => self.turns(),
        };
        let (begun, mut round, mut pause) = (Instant::now(), Vec::<Finished>::new(), None);
        for partition in turns {
            let bytes: usize = round.iter().map(Finished::bytes).sum();
            if begun.elapsed() >= ROUND || bytes >= BYTES {
                break;
            }
            match self.work_on(&partition, isolated.is_some())? {
                WorkResult::Done(finished) => round.extend(finished),
                WorkResult::Migrating => {
                    let task = self.tasks.get(&partition.number);
                    // A dry run changes nothing.
                    if task.is_some_and(|task| task.stores.has_changes()) {
                        self.worker.score.note_migration();
                    }
                }
                WorkResult::EventFailed(dead_lettered) => {
                    round.extend(dead_lettered);
                    let delay = self.breaker.record_failure(Instant::now());
                    pause = delay
                        .map(|delay| (delay, "it fails too often".to_owned()))
                        .or(pause);
                }
                WorkResult::PluginFailed(failure) => {
                    self.worker.metrics.trap(failure.reason);
                    // It fails for every event, which is enough to judge a new plug-in.
                    self.worker.score.add(Score::failures_only(MIN_FAILURES));
                    pause = Some((self.breaker.open(Instant::now()), failure.to_string()));
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

    fn work_on(&mut self, partition: &Partition, is_alone: bool) -> Result<WorkResult, Error> {
        let (Some(input), Some(task)) = (
            self.inputs.get_mut(partition),
            self.tasks.get_mut(&partition.number),
        ) else {
            return Ok(WorkResult::Done(None));
        };
        let mut events = if is_alone {
            input.take_one()
        } else {
            input.take()
        };
        let marked = task.mark_duplicates(self.worker, input, &mut events);
        let worked = match events
            .first()
            .and_then(|first| self.isolation.dead_letter_reason(first))
        {
            Some(reason) => Ok(partition_task::dead_letter(input, events, reason)),
            None => task.work(self.worker, &self.plugin, input, events),
        };
        marked.and(worked).or_else(|StoreFailed| task.fail())
    }

    /// Partitions with events to process, starting after the partition that was processed last.
    fn turns(&self) -> Vec<Partition> {
        let ready = self.inputs.iter().filter(|(_, input)| input.is_ready());
        let mut turns: Vec<_> = ready.map(|(partition, _)| partition.clone()).collect();
        let after = turns
            .iter()
            .position(|partition| Some(partition) > self.last.as_ref());
        turns.rotate_left(after.unwrap_or(0));
        turns
    }

    /// The first partition whose next event must be published alone.
    fn isolated(&self) -> Option<Partition> {
        let found = self.inputs.iter().find(|(_, input)| {
            input.is_ready()
                && input
                    .first()
                    .is_some_and(|event| self.isolation.must_isolate(event))
        });
        found.map(|(partition, _)| partition.clone())
    }

    /// Pauses the whole step, so that the events wait for an operator instead of becoming dead
    /// letters.
    fn pause(&mut self, delay: Duration, problem: String) {
        let (step, plugin) = (self.worker.step.title(), &self.plugin.label);
        tracing::error!(
            step,
            plugin,
            ?delay,
            problem,
            "the step is paused because its plug-in fails"
        );
        self.worker.metrics.pause();
        // The reason of the previous pause may differ, so it is reported again.
        self.reported = ReportedState::Working;
        self.paused = Some((Instant::now() + delay, problem));
    }

    /// Ends expired pauses, and tells the consumer which partitions to fetch.
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
}
