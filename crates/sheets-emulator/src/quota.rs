//! Requests per minute and user, as Google counts them: reads and writes apart, a batch is one
//! request, and a spent quota is refilled when its minute is over. The limit per project is left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::json;

use super::refusal::Refusal;

const MINUTE: Duration = Duration::from_secs(60);
/// Windows that are kept before those of past minutes are dropped.
const MAX_WINDOWS: usize = 1_024;

/// How many requests one user may make in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests that change a spreadsheet.
    pub writes_per_minute: u32,
    /// Requests that read one.
    pub reads_per_minute: u32,
}

impl Default for Quota {
    /// Google's own: 60 reads and 60 writes per minute and user (guide "Usage limits").
    fn default() -> Self {
        Self {
            writes_per_minute: 60,
            reads_per_minute: 60,
        }
    }
}

/// What a request does, and so which quota it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Read,
    Write,
}

/// The requests counted so far.
#[derive(Debug)]
pub(super) struct Budget {
    quota: Option<Quota>,
    windows: Mutex<HashMap<(String, Access), Window>>,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    used: u32,
}

impl Budget {
    /// Without a quota nothing is ever refused.
    pub(super) fn new(quota: Option<Quota>) -> Self {
        Self {
            quota,
            windows: Mutex::default(),
        }
    }

    /// Counts one request of `user`, or refuses it with 429 until the minute is over.
    pub(super) fn take(&self, user: &str, access: Access, now: Instant) -> Result<(), Refusal> {
        let Some(quota) = self.quota else {
            return Ok(());
        };
        let limit = match access {
            Access::Read => quota.reads_per_minute,
            Access::Write => quota.writes_per_minute,
        };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |window: &Window| now.duration_since(window.started) >= MINUTE;
        if windows.len() >= MAX_WINDOWS {
            windows.retain(|_, window| !over(window));
        }
        let window = windows.entry((user.to_owned(), access)).or_insert(Window {
            started: now,
            used: 0,
        });
        if over(window) {
            *window = Window {
                started: now,
                used: 0,
            };
        }
        if window.used >= limit {
            return Err(exceeded(access, limit));
        }
        window.used += 1;
        Ok(())
    }
}

/// The answer of a spent quota, with the details that clients look for.
fn exceeded(access: Access, limit: u32) -> Refusal {
    let (name, metric, quota_limit) = match access {
        Access::Read => ("Read", "read_requests", "ReadRequestsPerMinutePerUser"),
        Access::Write => ("Write", "write_requests", "WriteRequestsPerMinutePerUser"),
    };
    let message = format!(
        "Quota exceeded for quota metric '{name} requests' and limit '{name} requests per minute per user' \
         of service 'sheets.googleapis.com' for consumer 'project_number:0'."
    );
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, message).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": {
            "consumer": "projects/0",
            "quota_limit": quota_limit,
            "quota_limit_value": limit.to_string(),
            "quota_location": "global",
            "quota_metric": format!("sheets.googleapis.com/{metric}"),
            "service": "sheets.googleapis.com",
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u32) -> Budget {
        Budget::new(Some(Quota {
            writes_per_minute: limit,
            reads_per_minute: limit,
        }))
    }

    #[test]
    fn is_refilled_when_the_minute_is_over() {
        let (budget, start) = (budget(2), Instant::now());
        let write = |after| budget.take("a", Access::Write, start + after).is_ok();
        assert!(write(Duration::ZERO));
        assert!(write(Duration::from_secs(59)));
        assert!(!write(Duration::from_millis(59_999)));
        assert!(write(MINUTE));
    }

    #[test]
    fn users_and_kinds_have_their_own() {
        let (budget, now) = (budget(1), Instant::now());
        assert!(budget.take("a", Access::Write, now).is_ok());
        assert!(budget.take("a", Access::Read, now).is_ok());
        assert!(budget.take("b", Access::Write, now).is_ok());
        assert!(budget.take("a", Access::Write, now).is_err());
    }

    #[test]
    fn forgets_users_of_past_minutes() {
        let (budget, now) = (budget(1), Instant::now());
        for user in 0..MAX_WINDOWS {
            assert!(budget.take(&user.to_string(), Access::Read, now).is_ok());
        }
        assert!(budget.take("late", Access::Read, now + MINUTE).is_ok());
        assert_eq!(
            budget.windows.lock().map(|windows| windows.len()).ok(),
            Some(1)
        );
    }
}
