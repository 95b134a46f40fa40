//! Sends submissions according to a plan, and records every response.

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

use super::target::{Response, Target};
use crate::latency::Latencies;

/// When to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Closed loop: each target sends its next submission after the response to the previous one.
    Closed,
    /// Open loop: submissions are due at a constant rate, however slow the responses are. Latency
    /// counts from the time at which a submission was due, even if no target was free to send it
    /// (no coordinated omission).
    Open {
        /// Submissions per second.
        rate: f64,
    },
}

/// When to start, what to measure, and when to end.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    pub(crate) start: Instant,
    /// The measured period. The time before it is warm-up, and no submission is due after its end.
    pub(crate) measured: Range<Instant>,
}

/// The recorded responses.
#[derive(Debug)]
pub(crate) struct Results {
    /// Every accepted submission, including the warm-up, and the time of its response.
    pub(crate) accepted: Vec<(Option<EventId>, Instant)>,
    /// The number of responses with another status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// The latencies of the submissions that were due in the measured period.
    pub(crate) latencies: Latencies,
}

/// Time for the last responses after the end, which is longer than any timeout of ingest.
const LAST_RESPONSES: Duration = Duration::from_secs(30);

/// Opens `targets` targets and sends to them until the plan ends. Blocks the thread.
///
/// # Errors
///
/// If a target fails: it is unknown then whether its submission was accepted, so the counts would
/// be wrong.
pub(crate) fn run<T: Target + 'static>(
    targets: usize,
    open: impl AsyncFn() -> Result<T>,
    plan: &Plan,
) -> Result<Results> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let deadline = plan.measured.end + LAST_RESPONSES;
    let sending = async {
        let run = Rc::new(Run::new(plan.clone()));
        let mut senders = JoinSet::new();
        for _ in 0..targets {
            let target = open().await?;
            senders.spawn_local(Rc::clone(&run).send_to(target));
        }
        while let Some(sender) = senders.join_next().await {
            sender.context("a sender panicked")??;
        }
        drop(senders);
        Ok(Rc::into_inner(run)
            .expect("all senders have ended")
            .results
            .into_inner())
    };
    runtime.block_on(LocalSet::new().run_until(async {
        let sent = timeout_at(deadline.into(), sending).await;
        sent.context("some submissions got no response")?
    }))
}

/// The state that the senders of a run share. All senders run on one thread.
struct Run {
    plan: Plan,
    next: Cell<u64>,
    results: RefCell<Results>,
}

// === impl Run ===

impl Run {
    fn new(plan: Plan) -> Self {
        let results = Results {
            accepted: Vec::new(),
            refused: BTreeMap::new(),
            latencies: Latencies::new(),
        };
        Self {
            plan,
            next: Cell::new(0),
            results: RefCell::new(results),
        }
    }

    /// Repeatedly takes the next submission, waits until it is due, and sends it. A target that is
    /// late sends immediately, so the rate is kept as long as there are enough targets.
    async fn send_to(self: Rc<Self>, mut target: impl Target) -> Result<()> {
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
            let response = target.send(number).await;
            let response = response.with_context(|| {
                format!(
                    "submission {number}, due {:?} after the start",
                    due - self.plan.start
                )
            })?;
            self.record(&response, due);
        }
    }

    fn record(&self, response: &Response, due: Instant) {
        let mut results = self.results.borrow_mut();
        let now = Instant::now();
        match response.status {
            202 => results.accepted.push((response.id, now)),
            other => *results.refused.entry(other).or_default() += 1,
        }
        if self.plan.measured.contains(&due) {
            results.latencies.record(now - due);
        }
    }
}

// === impl Plan ===

impl Plan {
    /// A plan that starts now.
    pub(crate) fn from_now(pace: Pace, warm_up: Duration, measured: Duration) -> Self {
        let start = Instant::now();
        let warm = start + warm_up;
        Self {
            pace,
            start,
            measured: warm..warm + measured,
        }
    }

    fn due(&self, number: u64) -> Instant {
        match self.pace {
            Pace::Closed => Instant::now().max(self.start),
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 submissions")]
            Pace::Open { rate } => self.start + Duration::from_secs_f64(number as f64 / rate),
        }
    }
}

// === impl Results ===

impl Results {
    /// The number of submissions that were accepted within a period.
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

    /// A target that responds after a pause; the first response takes longer.
    struct Slow {
        first: Rc<Cell<bool>>,
        pause: Duration,
        stall: Duration,
    }

    impl Target for Slow {
        async fn send(&mut self, number: u64) -> Result<Response> {
            let pause = if self.first.replace(false) {
                self.stall
            } else {
                self.pause
            };
            tokio::time::sleep(pause).await;
            Ok(Response {
                status: if number % 10 == 9 { 503 } else { 202 },
                id: Some(EventId::new()),
            })
        }
    }

    fn send(targets: usize, plan: &Plan, pause: Duration, stall: Duration) -> Results {
        let first = Rc::new(Cell::new(true));
        let open = async || {
            Ok(Slow {
                first: Rc::clone(&first),
                pause,
                stall,
            })
        };
        run(targets, open, plan).expect("the target responds")
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_open_loop_keeps_the_rate_and_counts_the_wait_for_a_free_target() {
        let plan = Plan::from_now(Pace::Open { rate: 1000.0 }, 100 * MS, 400 * MS);
        // One target, which stalls for 200 ms, during which 200 submissions become due.
        let results = send(1, &plan, Duration::ZERO, 200 * MS);
        assert_eq!((results.accepted.len(), results.refused[&503]), (450, 50));
        let seen = results.latencies.percentiles();
        assert_eq!(seen.count, 400, "the warm-up was counted");
        assert!(
            seen.max_ms >= 90.0,
            "{seen:?}: due at 100 ms, sent after 200 ms"
        );
    }

    #[test]
    fn a_closed_loop_sends_after_each_response() {
        let plan = Plan::from_now(Pace::Closed, 100 * MS, 200 * MS);
        let results = send(2, &plan, 10 * MS, 10 * MS);
        let refused = usize::try_from(results.refused[&503]).expect("a small number");
        let responses = results.accepted.len() + refused;
        assert!(
            (10..=60).contains(&responses),
            "two targets, 300 ms, at least 10 ms each: {responses}"
        );
        assert!(results.accepted_in(&plan.measured) < results.accepted.len());
        assert!(results.latencies.percentiles().p50_ms >= 10.0);
    }

    #[test]
    fn a_target_that_fails_ends_the_run() {
        struct Broken;
        impl Target for Broken {
            async fn send(&mut self, _: u64) -> Result<Response> {
                anyhow::bail!("the connection failed")
            }
        }
        let plan = Plan::from_now(Pace::Closed, MS, 60_000 * MS);
        let error = run(3, async || Ok(Broken), &plan).expect_err("a failed target ends the run");
        let text = format!("{error:#}");
        assert!(
            text.contains("submission 0, due") && text.contains("the connection failed"),
            "{text}"
        );
    }
}
