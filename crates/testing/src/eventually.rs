//! Waits for a condition, with a deadline, instead of sleeping for a fixed time.

use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Interval between two checks.
const INTERVAL: Duration = Duration::from_millis(20);

/// The result of a check: `bool`, `Option<T>` or `Result<T, E>`.
pub trait Condition {
    /// What the wait returns once the condition holds.
    type Value;

    /// The value, if the condition holds.
    ///
    /// # Errors
    /// A description of the current state, which is printed if the deadline passes.
    fn evaluate(self) -> Result<Self::Value, String>;
}

// === impl Condition ===

impl Condition for bool {
    type Value = ();

    fn evaluate(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("false".to_owned())
        }
    }
}

impl<T> Condition for Option<T> {
    type Value = T;

    fn evaluate(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, E: Debug> Condition for Result<T, E> {
    type Value = T;

    fn evaluate(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Checks a condition repeatedly until it holds, and returns its value.
///
/// # Panics
/// At the line of the caller, with the result of the last check, if the condition does not hold
/// within `deadline`. A check that hangs is cancelled at the deadline.
#[track_caller]
pub fn eventually<F, Fut>(
    deadline: Duration,
    mut check: F,
) -> impl Future<Output = <Fut::Output as Condition>::Value>
where
    F: FnMut() -> Fut,
    Fut: Future<Output: Condition>,
{
    // In an async fn the location would be in this file.
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let checked = tokio::time::timeout(left, check()).await;
            let state = match checked.map(Condition::evaluate) {
                Ok(Ok(value)) => return value,
                Ok(Err(state)) => state,
                Err(_) => "the check did not return".to_owned(),
            };
            assert!(
                Instant::now() < end,
                "{caller}: not within {deadline:?}: {state}"
            );
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn returns_the_value_once_it_exists() {
        let mut checks = 0;
        let value = eventually(Duration::from_secs(5), || {
            checks += 1;
            std::future::ready((checks == 3).then_some("value"))
        });
        assert_eq!(value.await, "value");
    }

    #[tokio::test]
    #[should_panic(expected = "eventually.rs")]
    async fn panics_at_the_line_of_the_caller_when_the_deadline_passes() {
        eventually(SHORT, || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "\"the reason\"")]
    async fn panics_with_the_last_state() {
        eventually(SHORT, || async { Err::<(), _>("the reason") }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the check did not return")]
    async fn cancels_a_check_that_hangs() {
        eventually(SHORT, std::future::pending::<bool>).await;
    }
}
