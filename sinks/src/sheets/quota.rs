//! How often we may call Google, which counts per account: one budget for all sinks of a process, and with Redis for all
//! processes.

use std::{sync::LazyLock, time::Duration};

use redis::Script;
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::redis::{Failure, Redis};

/// A token bucket. Who waits first in this process is served first.
#[derive(Debug)]
pub(crate) struct Quota {
    budget: Budget,
    shared: Option<Shared>,
    /// The whole budget, or, beside a shared bucket, what this process takes while Redis is away.
    own: Mutex<Bucket>,
}

/// Calls that may follow each other at once after a quiet time, and calls a minute. Together they are what Google grants
/// in any one minute, for writes and for reads each.
#[derive(Clone, Copy, Debug)]
struct Budget {
    burst: f64,
    per_minute: f64,
}

/// The bucket in Redis.
#[derive(Debug)]
struct Shared {
    redis: Redis,
    bucket: String,
    /// Key of the processes that have asked lately.
    processes: String,
    /// Ours among them.
    process: String,
}

#[derive(Debug)]
struct Bucket {
    budget: Budget,
    tokens: f64,
    filled: Instant,
}

/// Assumed until Redis has told how many processes there are.
const UNKNOWN_PROCESSES: f64 = 10.0;

/// The bucket fills by the server's clock, since those of processes differ. One that is new, or was lost, is empty:
/// nobody knows what was taken in the last minute. A pause is a debt, paid off when it is over.
/// Returns the milliseconds to wait, 0 for leave to call, and how many processes asked in the last two minutes.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local burst, rate, pause = tonumber(ARGV[1]), ARGV[2] / 60000, tonumber(ARGV[3])
        local held = redis.call('HMGET', KEYS[1], 'tokens', 'filled')
        local elapsed = math.max(0, now - (tonumber(held[2]) or now))
        local tokens = math.min(burst, (tonumber(held[1]) or 0) + elapsed * rate)
        local wait = 0
        if pause > 0 then
            tokens = math.min(tokens, 1 - pause * rate)
        elseif tokens >= 1 then
            tokens = tokens - 1
        else
            wait = math.ceil((1 - tokens) / rate)
        end
        redis.call('HSET', KEYS[1], 'tokens', tokens, 'filled', now)
        redis.call('ZADD', KEYS[2], now, ARGV[4])
        redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 120000)
        return {wait, redis.call('ZCARD', KEYS[2])}",
    )
});

// === impl Quota ===

impl Quota {
    /// A budget of so many calls in any one minute for this process alone.
    pub(crate) fn own(calls_per_minute: u32) -> Self {
        let budget = Budget::new(calls_per_minute);
        Self {
            budget,
            shared: None,
            own: Mutex::new(Bucket {
                budget,
                tokens: budget.burst,
                filled: Instant::now(),
            }),
        }
    }

    /// A budget of so many calls in any one minute for all processes that name the same account and kind of call.
    pub(crate) fn shared(calls_per_minute: u32, redis: Redis, account: &str, kind: &str) -> Self {
        let budget = Budget::new(calls_per_minute);
        // One hash tag, so that a cluster keeps both keys on one server.
        let bucket = format!("formline:{{google {account} {kind}}}");
        let shared = Shared {
            redis,
            processes: format!("{bucket}:processes"),
            process: Uuid::now_v7().to_string(),
            bucket,
        };
        Self {
            budget,
            shared: Some(shared),
            own: Mutex::new(Bucket::share(budget, UNKNOWN_PROCESSES)),
        }
    }

    /// Waits for leave to make one call.
    pub(crate) async fn take(&self) {
        // Tokio's mutex is fair, and it is held while waiting: that is the queue.
        let mut own = self.own.lock().await;
        while let Some(wait) = self.ask(&mut own).await {
            tokio::time::sleep(wait).await;
        }
    }

    /// Google has said that there were too many calls: nobody calls for so long.
    pub(crate) async fn pause(&self, wait: Duration) {
        let mut own = self.own.lock().await;
        if let Some(shared) = &self.shared
            && let Err(failure) = shared.run(self.budget, wait).await
        {
            tracing::debug!(?failure, "other processes do not hear of a pause");
        }
        let from_now = Instant::now() + wait;
        own.filled = own.filled.max(from_now);
        own.tokens = 1.0;
    }

    /// How long to wait, if there is no leave now.
    async fn ask(&self, own: &mut Bucket) -> Option<Duration> {
        let Some(shared) = &self.shared else {
            return own.take(Instant::now());
        };
        match shared.run(self.budget, Duration::ZERO).await {
            Ok((wait, processes)) => {
                *own = Bucket::share(self.budget, processes);
                (!wait.is_zero()).then_some(wait)
            }
            Err(failure) => {
                let generation = shared.redis.generation();
                tracing::debug!(
                    ?failure,
                    generation,
                    "calling google with a share of the budget"
                );
                own.take(Instant::now())
            }
        }
    }
}

// === impl Budget ===

impl Budget {
    fn new(calls_per_minute: u32) -> Self {
        let burst = f64::from(calls_per_minute) / 6.0;
        Self {
            burst: burst.max(1.0),
            per_minute: f64::from(calls_per_minute) - burst.max(1.0),
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Takes a token, or has all wait. Without an answer a token may be lost: rather one call less than one too many.
    async fn run(&self, budget: Budget, pause: Duration) -> Result<(Duration, f64), Failure> {
        let mut script = TAKE.key(&self.bucket);
        script.key(&self.processes);
        script.arg(budget.burst).arg(budget.per_minute);
        script.arg(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        script.arg(&self.process);
        let (wait, processes): (u64, u32) = self.redis.invoke(&script).await?;
        Ok((Duration::from_millis(wait), f64::from(processes.max(1))))
    }
}

// === impl Bucket ===

impl Bucket {
    /// While Redis is away each process takes an equal part of what the bucket fills with, and nobody a burst. So the
    /// burst is left for what the shared bucket granted last, for the one call that each may have saved, and for the two
    /// seconds in which some call through Redis again and others do not yet.
    fn share(budget: Budget, processes: f64) -> Self {
        let per_minute = budget.per_minute / processes;
        Self {
            budget: Budget {
                burst: 1.0,
                per_minute,
            },
            tokens: 0.0,
            filled: Instant::now(),
        }
    }

    /// How long to wait, if there is no token now.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        if now < self.filled {
            return Some(self.filled - now);
        }
        let per_second = self.budget.per_minute / 60.0;
        let grown = (now - self.filled).as_secs_f64() * per_second;
        self.tokens = (self.tokens + grown).min(self.budget.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return Some(Duration::from_secs_f64((1.0 - self.tokens) / per_second));
        }
        self.tokens -= 1.0;
        None
    }
}

#[cfg(test)]
mod tests {
    use formline_core::{Shutdown, Telemetry, settings};
    use formline_testing::unique;

    use super::*;

    /// The calls that are made in a minute when there is always one to make.
    fn calls(bucket: &mut Bucket, begin: Instant) -> u32 {
        let (mut now, mut calls) = (begin, 0);
        while now - begin < Duration::from_secs(60) {
            match bucket.take(now) {
                None => calls += 1,
                // Sleeping is never shorter than asked.
                Some(wait) => now += wait + Duration::from_millis(1),
            }
        }
        calls
    }

    #[test]
    fn no_minute_has_more_calls_than_google_grants() {
        let begin = Instant::now();
        let budget = Budget::new(60);
        let mut bucket = Bucket {
            budget,
            tokens: budget.burst,
            filled: begin,
        };
        let first = calls(&mut bucket, begin);
        assert!((55..=60).contains(&first), "{first}");
        let second = calls(&mut bucket, begin + Duration::from_secs(61));
        assert!((45..=51).contains(&second), "{second}");
    }

    #[tokio::test]
    async fn after_too_many_calls_nobody_calls_until_the_pause_is_over() {
        let quota = Quota::own(60);
        let begin = Instant::now();
        quota.pause(Duration::from_millis(50)).await;
        quota.take().await;
        assert!(begin.elapsed() >= Duration::from_millis(50));
    }

    /// What a process makes of the settings.
    fn process(redis: &formline_testing::Redis, account: &str) -> Quota {
        let place = settings::Redis::Server(settings::Secret::new(redis.url()));
        let redis = Redis::open(&place, &Shutdown::new(), &Telemetry::new()).unwrap();
        Quota::shared(CALLS, redis, account, "writes")
    }

    async fn take(quota: &Quota, times: u32) {
        for _ in 0..times {
            quota.take().await;
        }
    }

    const CALLS: u32 = 6_000;

    /// The least time in which an empty bucket has so many tokens.
    fn least(tokens: u32) -> Duration {
        Duration::from_secs(60) * tokens / (CALLS / 6 * 5)
    }

    #[tokio::test]
    async fn two_processes_share_one_budget_and_part_it_while_redis_is_away() {
        let mut redis = formline_testing::Redis::start_own().await;
        let account = unique("account");
        let (one, two) = (process(&redis, &account), process(&redis, &account));
        let begin = Instant::now();
        tokio::join!(take(&one, 60), take(&two, 60));
        assert!(begin.elapsed() >= least(120));
        // From now on both know that they are two.
        redis.kill();
        let begin = Instant::now();
        tokio::join!(take(&one, 20), take(&two, 20));
        // Each may have saved one token while it called through Redis.
        assert!(begin.elapsed() >= least(38));
        // A bucket that was lost begins empty.
        redis.restart_empty().await;
        let (three, four) = (process(&redis, &account), process(&redis, &account));
        let begin = Instant::now();
        tokio::join!(take(&three, 30), take(&four, 30));
        assert!(begin.elapsed() >= least(60));
    }

    #[tokio::test]
    async fn a_pause_is_one_for_all_processes() {
        let redis = formline_testing::Redis::start_own().await;
        let account = unique("account");
        let (one, two) = (process(&redis, &account), process(&redis, &account));
        two.take().await;
        let begin = Instant::now();
        one.pause(Duration::from_millis(300)).await;
        two.take().await;
        assert!(begin.elapsed() >= Duration::from_millis(300));
    }
}
