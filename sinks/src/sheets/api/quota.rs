//! The quota of calls to Google, which counts them per account: one budget for all sinks of a
//! process or, with Redis, of all processes.

use std::{sync::LazyLock, time::Duration};

use redis::Script;
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::redis::{Redis, ScriptError};

/// A token bucket. Callers in this process are served in the order of their calls.
#[derive(Debug)]
pub(crate) struct Quota {
    budget: CallBudget,
    shared: Option<SharedBucket>,
    /// The whole budget; or, if the bucket is shared, the part that this process takes while Redis
    /// is unavailable.
    own: Mutex<TokenBucket>,
}

/// The calls that may be made at once after a quiet time, and the calls per minute. Their sum is
/// what Google grants in any one minute, for writes and for reads separately.
#[derive(Clone, Copy, Debug)]
struct CallBudget {
    burst: f64,
    per_minute: f64,
}

/// The bucket in Redis.
#[derive(Debug)]
struct SharedBucket {
    redis: Redis,
    bucket: String,
    /// Key of the set of processes that have called lately.
    processes: String,
    /// The member of this process in that set.
    process: String,
}

#[derive(Debug)]
struct TokenBucket {
    budget: CallBudget,
    tokens: f64,
    filled: Instant,
}

/// Assumed until Redis has reported the number of processes.
const UNKNOWN_PROCESSES: f64 = 10.0;

/// Fills the bucket by the clock of the server, because the clocks of processes differ. A new or
/// lost bucket is empty, because the calls of the last minute are unknown. A pause makes the number
/// of tokens negative, so that the first one is there when the pause is over.
/// Returns the milliseconds to wait, 0 if the call may be made, and the number of processes that
/// have called in the last two minutes.
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
    /// A budget of `calls_per_minute` for this process alone.
    pub(crate) fn own(calls_per_minute: u32) -> Self {
        let budget = CallBudget::new(calls_per_minute);
        Self {
            budget,
            shared: None,
            own: Mutex::new(TokenBucket {
                budget,
                tokens: budget.burst,
                filled: Instant::now(),
            }),
        }
    }

    /// A budget of `calls_per_minute` for all processes with the same account and kind of call.
    pub(crate) fn shared(calls_per_minute: u32, redis: Redis, account: &str, kind: &str) -> Self {
        let budget = CallBudget::new(calls_per_minute);
        // One hash tag keeps both keys on one server of a cluster.
        let bucket = format!("formline:{{google {account} {kind}}}");
        let shared = SharedBucket {
            redis,
            processes: format!("{bucket}:processes"),
            process: Uuid::now_v7().to_string(),
            bucket,
        };
        Self {
            budget,
            shared: Some(shared),
            own: Mutex::new(TokenBucket::share(budget, UNKNOWN_PROCESSES)),
        }
    }

    /// Waits until one call may be made.
    pub(crate) async fn take(&self) {
        // Tokio's mutex is fair, so holding it while waiting makes it a queue.
        let mut own = self.own.lock().await;
        while let Some(wait) = self.ask(&mut own).await {
            tokio::time::sleep(wait).await;
        }
    }

    /// Stops all calls for `wait`, because Google has reported too many.
    pub(crate) async fn pause(&self, wait: Duration) {
        let mut own = self.own.lock().await;
        if let Some(shared) = &self.shared
            && let Err(failure) = shared.run(self.budget, wait).await
        {
            tracing::debug!(?failure, "other processes do not learn of the pause");
        }
        let from_now = Instant::now() + wait;
        own.filled = own.filled.max(from_now);
        own.tokens = 1.0;
    }

    /// How long to wait, if no call may be made now.
    async fn ask(&self, own: &mut TokenBucket) -> Option<Duration> {
        let Some(shared) = &self.shared else {
            return own.take(Instant::now());
        };
        match shared.run(self.budget, Duration::ZERO).await {
            Ok((wait, processes)) => {
                *own = TokenBucket::share(self.budget, processes);
                (!wait.is_zero()).then_some(wait)
            }
            Err(failure) => {
                let generation = shared.redis.generation();
                tracing::debug!(
                    ?failure,
                    generation,
                    "redis is unavailable; using a share of the budget"
                );
                own.take(Instant::now())
            }
        }
    }
}

// === impl CallBudget ===

impl CallBudget {
    fn new(calls_per_minute: u32) -> Self {
        let burst = f64::from(calls_per_minute) / 6.0;
        Self {
            burst: burst.max(1.0),
            per_minute: f64::from(calls_per_minute) - burst.max(1.0),
        }
    }
}

// === impl SharedBucket ===

impl SharedBucket {
    /// Takes a token, or pauses all processes. If Redis does not answer, a token may be lost:
    /// better one call too few than one too many.
    async fn run(
        &self,
        budget: CallBudget,
        pause: Duration,
    ) -> Result<(Duration, f64), ScriptError> {
        let mut script = TAKE.key(&self.bucket);
        script.key(&self.processes);
        script.arg(budget.burst).arg(budget.per_minute);
        script.arg(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        script.arg(&self.process);
        let (wait, processes): (u64, u32) = self.redis.invoke(&script).await?;
        Ok((Duration::from_millis(wait), f64::from(processes.max(1))))
    }
}

// === impl TokenBucket ===

impl TokenBucket {
    /// While Redis is unavailable, each process takes an equal share of the rate, without a burst.
    /// The burst covers the calls that the shared bucket granted last, the one token that each
    /// process may have saved, and the two seconds in which some processes use Redis again and
    /// others do not yet.
    fn share(budget: CallBudget, processes: f64) -> Self {
        let per_minute = budget.per_minute / processes;
        Self {
            budget: CallBudget {
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

    /// The calls of one minute, if there is always another one to make.
    fn calls(bucket: &mut TokenBucket, begin: Instant) -> u32 {
        let (mut now, mut calls) = (begin, 0);
        while now - begin < Duration::from_secs(60) {
            match bucket.take(now) {
                None => calls += 1,
                // Tokio never sleeps for less than it is asked to.
                Some(wait) => now += wait + Duration::from_millis(1),
            }
        }
        calls
    }

    #[test]
    fn no_minute_has_more_calls_than_google_grants() {
        let begin = Instant::now();
        let budget = CallBudget::new(60);
        let mut bucket = TokenBucket {
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
    async fn a_pause_after_too_many_calls_stops_all_calls() {
        let quota = Quota::own(60);
        let begin = Instant::now();
        quota.pause(Duration::from_millis(50)).await;
        quota.take().await;
        assert!(begin.elapsed() >= Duration::from_millis(50));
    }

    /// The quota of one process.
    fn process(redis: &formline_testing::Redis, account: &str) -> Quota {
        let endpoint = settings::Redis::Server(settings::Secret::new(redis.url()));
        let redis = Redis::open(&endpoint, &Shutdown::new(), &Telemetry::new()).unwrap();
        Quota::shared(CALLS, redis, account, "writes")
    }

    async fn take(quota: &Quota, times: u32) {
        for _ in 0..times {
            quota.take().await;
        }
    }

    const CALLS: u32 = 6_000;

    /// The shortest time in which an empty bucket gains this many tokens.
    fn least(tokens: u32) -> Duration {
        Duration::from_secs(60) * tokens / (CALLS / 6 * 5)
    }

    #[tokio::test]
    async fn two_processes_share_one_budget_and_split_it_while_redis_is_unavailable() {
        let mut redis = formline_testing::Redis::start_own().await;
        let account = unique("account");
        let (one, two) = (process(&redis, &account), process(&redis, &account));
        let begin = Instant::now();
        tokio::join!(take(&one, 60), take(&two, 60));
        assert!(begin.elapsed() >= least(120));
        // From now on, each process knows that there are two.
        redis.kill();
        let begin = Instant::now();
        tokio::join!(take(&one, 20), take(&two, 20));
        // Each may have saved one token during its last call through Redis.
        assert!(begin.elapsed() >= least(38));
        // A lost bucket starts empty.
        redis.restart_empty().await;
        let (three, four) = (process(&redis, &account), process(&redis, &account));
        let begin = Instant::now();
        tokio::join!(take(&three, 30), take(&four, 30));
        assert!(begin.elapsed() >= least(60));
    }

    /// Processes of all versions share the keys.
    #[tokio::test]
    async fn the_keys_in_redis_do_not_change() {
        let endpoint = settings::Redis::Server(settings::Secret::new("redis://127.0.0.1:1"));
        let redis = Redis::open(&endpoint, &Shutdown::new(), &Telemetry::new()).unwrap();
        let quota = Quota::shared(CALLS, redis, "account", "writes");
        let shared = quota.shared.expect("it is shared");
        assert_eq!(shared.bucket, "formline:{google account writes}");
        assert_eq!(
            shared.processes,
            "formline:{google account writes}:processes"
        );
    }

    #[tokio::test]
    async fn a_pause_stops_all_processes() {
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
