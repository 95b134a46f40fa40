//! Sends submissions from one thread, at a constant rate or as fast as answers come, and notes every answer.

mod connection;
mod response;
mod students;
mod targets;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use formline_core::EventId;
use tokio::{
    task::{JoinSet, LocalSet},
    time::{sleep_until, timeout_at},
};

use crate::latency::Latencies;

pub(crate) use self::{
    connection::Connection,
    students::Students,
    targets::{Http, Topic},
};

/// What takes submissions. It has one under way at a time.
pub(crate) trait Target {
    /// Sends the student of this number and waits for the answer.
    async fn send(&mut self, number: u64) -> Result<Answer>;
}

/// The answer to one submission.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    /// As in HTTP.
    pub(crate) status: u16,
    /// The id that the submission was given, if the answer says it.
    pub(crate) id: Option<EventId>,
}

/// When to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each target sends its next submission when the last one was answered.
    Closed,
    /// So many submissions are due in a second, evenly, however slow the answers are. Latency counts from when a
    /// submission was due, also when no target was free to send it then (no coordinated omission).
    Open {
        /// Submissions a second.
        rate: f64,
    },
}

/// When to begin, what to measure, and when to end.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    /// What lies before is warm-up.
    pub(crate) begin: Instant,
    /// Nothing becomes due after its end.
    pub(crate) measured: Range<Instant>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Log {
    /// Every submission that was accepted, warm-up included, and when its answer was there.
    pub(crate) accepted: Vec<(Option<EventId>, Instant)>,
    /// How often another status was answered.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// From when a submission was due in the measured time to its answer, whenever that came.
    pub(crate) latencies: Latencies,
}

/// How long the last answers may take after the end. Longer than any time-out of the line.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// Opens so many targets and sends through them until the plan ends. Blocks the thread.
///
/// A target that fails ends the run: whether its submission was accepted is not known, so nothing could be counted.
pub(crate) fn run<T: Target + 'static>(
    targets: usize,
    open: impl AsyncFn() -> Result<T>,
    plan: &Plan,
) -> Result<Log> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let end = plan.measured.end + LAST_ANSWERS;
    let sending = async {
        let run = Rc::new(Run::new(plan.clone()));
        let mut senders = JoinSet::new();
        for _ in 0..targets {
            let target = open().await?;
            senders.spawn_local(Rc::clone(&run).send_through(target));
        }
        while let Some(sender) = senders.join_next().await {
            sender.context("a sender panicked")??;
        }
        drop(senders);
        Ok(Rc::into_inner(run)
            .expect("all senders have ended")
            .log
            .into_inner())
    };
    runtime.block_on(LocalSet::new().run_until(async {
        let limited = timeout_at(end.into(), sending).await;
        limited.context("some submissions were not answered at all")?
    }))
}

/// What the senders of one run share. They take turns on one thread.
struct Run {
    plan: Plan,
    next: Cell<u64>,
    log: RefCell<Log>,
}

// === impl Run ===

impl Run {
    fn new(plan: Plan) -> Self {
        let log = Log {
            accepted: Vec::new(),
            refused: BTreeMap::new(),
            latencies: Latencies::new(),
        };
        Self {
            plan,
            next: Cell::new(0),
            log: RefCell::new(log),
        }
    }

    /// Takes the next submission, waits until it is due, sends it; and so on. A target that is free waits for its
    /// turn, one that comes late sends at once, so the rate holds as long as there are targets enough.
    async fn send_through(self: Rc<Self>, mut target: impl Target) -> Result<()> {
        loop {
            let number = self.next.get();
            let due = self.plan.due(number);
            if due >= self.plan.measured.end {
                return Ok(());
            }
            self.next.set(number + 1);
            if due > Instant::now() {
                sleep_until(due.into()).await;
            }
            let answer = target.send(number).await;
            let answer = answer.with_context(|| {
                format!(
                    "submission {number}, due {:?} after the beginning",
                    due - self.plan.begin
                )
            })?;
            self.note(&answer, due);
        }
    }

    fn note(&self, answer: &Answer, due: Instant) {
        let mut log = self.log.borrow_mut();
        let now = Instant::now();
        match answer.status {
            202 => log.accepted.push((answer.id, now)),
            other => *log.refused.entry(other).or_default() += 1,
        }
        if self.plan.measured.contains(&due) {
            log.latencies.record(now - due);
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Begins now.
    pub(crate) fn from_now(pace: Pace, warm_up: Duration, measured: Duration) -> Self {
        let begin = Instant::now();
        let start = begin + warm_up;
        Self {
            pace,
            begin,
            measured: start..start + measured,
        }
    }

    fn due(&self, number: u64) -> Instant {
        match self.pace {
            Pace::Closed => Instant::now().max(self.begin),
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 submissions")]
            Pace::Open { rate } => self.begin + Duration::from_secs_f64(number as f64 / rate),
        }
    }
}

// === impl Log ===

impl Log {
    /// Submissions that were accepted in this time.
    pub(crate) fn accepted_in(&self, time: &Range<Instant>) -> usize {
        self.accepted
            .iter()
            .filter(|(_, at)| time.contains(at))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers after a while; the first one takes longer.
    struct Slow {
        first: Rc<Cell<bool>>,
        pause: Duration,
        stall: Duration,
    }

    impl Target for Slow {
        async fn send(&mut self, number: u64) -> Result<Answer> {
            let pause = if self.first.replace(false) {
                self.stall
            } else {
                self.pause
            };
            tokio::time::sleep(pause).await;
            Ok(Answer {
                status: if number % 10 == 9 { 503 } else { 202 },
                id: Some(EventId::new()),
            })
        }
    }

    fn send(targets: usize, plan: &Plan, pause: Duration, stall: Duration) -> Log {
        let first = Rc::new(Cell::new(true));
        let open = async || {
            Ok(Slow {
                first: Rc::clone(&first),
                pause,
                stall,
            })
        };
        run(targets, open, plan).expect("it answers")
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_open_loop_sends_what_is_due_and_counts_waiting_for_a_free_target() {
        let plan = Plan::from_now(Pace::Open { rate: 1000.0 }, 100 * MS, 400 * MS);
        // One target, stalled for 200 ms in which 200 submissions became due.
        let log = send(1, &plan, Duration::ZERO, 200 * MS);
        assert_eq!((log.accepted.len(), log.refused[&503]), (450, 50));
        let seen = log.latencies.percentiles();
        assert_eq!(seen.count, 400, "those of the warm-up do not count");
        assert!(
            seen.max_ms >= 90.0,
            "{seen:?}: due at 100 ms, sent after 200 ms"
        );
    }

    #[test]
    fn a_closed_loop_sends_when_it_has_an_answer() {
        let plan = Plan::from_now(Pace::Closed, 100 * MS, 200 * MS);
        let log = send(2, &plan, 10 * MS, 10 * MS);
        let answered = log.accepted.len() + usize::try_from(log.refused[&503]).expect("few");
        assert!(
            (10..=60).contains(&answered),
            "two targets, 300 ms, at least 10 ms each: {answered}"
        );
        assert!(log.accepted_in(&plan.measured) < log.accepted.len());
        assert!(log.latencies.percentiles().p50_ms >= 10.0);
    }

    #[test]
    fn a_target_that_fails_ends_the_run() {
        struct Broken;
        impl Target for Broken {
            async fn send(&mut self, _: u64) -> Result<Answer> {
                anyhow::bail!("the line is cut")
            }
        }
        let plan = Plan::from_now(Pace::Closed, MS, 60_000 * MS);
        let error = run(3, async || Ok(Broken), &plan).expect_err("nothing can be counted");
        let said = format!("{error:#}");
        assert!(
            said.contains("submission 0, due") && said.contains("the line is cut"),
            "{said}"
        );
    }
}
