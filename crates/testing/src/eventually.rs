//! Waiting for a condition instead of sleeping for luck.

use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Between two looks. Short against what tests wait for, long against what a look costs.
const PAUSE: Duration = Duration::from_millis(20);

/// What a condition may answer: `bool`, `Option<T>` or `Result<T, E>`.
pub trait Condition {
    /// What the wait yields once the condition holds.
    type Value;

    /// The value, or why it does not hold yet.
    ///
    /// # Errors
    /// What was seen instead; printed if it is the last look before the deadline.
    fn settled(self) -> Result<Self::Value, String>;
}

// === impl Condition ===

impl Condition for bool {
    type Value = ();

    fn settled(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("false".to_owned())
        }
    }
}

impl<T> Condition for Option<T> {
    type Value = T;

    fn settled(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, E: Debug> Condition for Result<T, E> {
    type Value = T;

    fn settled(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Looks until the condition holds and returns its value.
///
/// # Panics
/// At the caller's line with the last look's answer, when `deadline` has passed. A look that hangs
/// is cut off at the deadline too.
#[track_caller]
pub fn eventually<F, Fut>(
    deadline: Duration,
    mut look: F,
) -> impl Future<Output = <Fut::Output as Condition>::Value>
where
    F: FnMut() -> Fut,
    Fut: Future<Output: Condition>,
{
    // An async fn would name a line of this file.
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let seen = match tokio::time::timeout(left, look())
                .await
                .map(Condition::settled)
            {
                Ok(Ok(value)) => return value,
                Ok(Err(instead)) => instead,
                Err(_) => "a look that did not come back".to_owned(),
            };
            assert!(
                Instant::now() < end,
                "{caller}: not within {deadline:?}, but {seen}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn returns_the_value_once_it_is_there() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), || {
            looks += 1;
            std::future::ready((looks == 3).then_some("here"))
        });
        assert_eq!(value.await, "here");
    }

    #[tokio::test]
    #[should_panic(expected = "eventually.rs")]
    async fn panics_at_the_waiting_line_when_the_deadline_passes() {
        eventually(SHORT, || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "\"the reason\"")]
    async fn tells_what_it_saw_last() {
        eventually(SHORT, || async { Err::<(), _>("the reason") }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a look that did not come back")]
    async fn cuts_off_a_look_that_hangs() {
        eventually(SHORT, std::future::pending::<bool>).await;
    }
}
