//! Requests per minute and user, counted like Google: reads and writes separately, and a batch as
//! one request. A quota is refilled at the end of its minute. There is no limit per project.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::json;

use crate::api_error::ApiError;

const MINUTE: Duration = Duration::from_secs(60);
/// Number of windows at which those of past minutes are evicted.
const MAX_WINDOWS: usize = 1_024;

/// Maximum number of requests per user and minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests that change a spreadsheet.
    pub writes_per_minute: u32,
    /// Requests that read one.
    pub reads_per_minute: u32,
}

/// The kind of access of a request, which determines its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The requests counted so far.
#[derive(Debug)]
pub(crate) struct QuotaCounter {
    quota: Option<Quota>,
    windows: Mutex<HashMap<(String, Access), Window>>,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    used: u32,
}

// === impl Quota ===

impl Default for Quota {
    /// The limits of Google: 60 reads and 60 writes per minute and user (guide "Usage limits").
    fn default() -> Self {
        Self {
            writes_per_minute: 60,
            reads_per_minute: 60,
        }
    }
}

// === impl QuotaCounter ===

impl QuotaCounter {
    /// A counter; without a quota it accepts all requests.
    pub(crate) fn new(quota: Option<Quota>) -> Self {
        Self {
            quota,
            windows: Mutex::default(),
        }
    }

    /// Counts one request of `user`, or rejects it with 429 until the minute is over.
    pub(crate) fn take(&self, user: &str, access: Access, now: Instant) -> Result<(), ApiError> {
        let Some(quota) = self.quota else {
            return Ok(());
        };
        let limit = match access {
            Access::Read => quota.reads_per_minute,
            Access::Write => quota.writes_per_minute,
        };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |window: &Window| now.duration_since(window.started) >= MINUTE;
        if windows.len() >= MAX_WINDOWS {
            windows.retain(|_, window| !is_over(window));
        }
        let window = windows.entry((user.to_owned(), access)).or_insert(Window {
            started: now,
            used: 0,
        });
        if is_over(window) {
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

/// The error of an exceeded quota, with the details that clients evaluate.
fn exceeded(access: Access, limit: u32) -> ApiError {
    let (name, metric, quota_limit) = match access {
        Access::Read => ("Read", "read_requests", "ReadRequestsPerMinutePerUser"),
        Access::Write => ("Write", "write_requests", "WriteRequestsPerMinutePerUser"),
    };
    let message = format!(
        "Quota exceeded for quota metric '{name} requests' and limit '{name} requests per minute per user' \
         of service 'sheets.googleapis.com' for consumer 'project_number:0'."
    );
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).with_detail(json!({
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

    fn counter(limit: u32) -> QuotaCounter {
        QuotaCounter::new(Some(Quota {
            writes_per_minute: limit,
            reads_per_minute: limit,
        }))
    }

    #[test]
    fn a_quota_is_refilled_when_the_minute_is_over() {
        let (counter, start) = (counter(2), Instant::now());
        let write = |after| counter.take("a", Access::Write, start + after).is_ok();
        assert!(write(Duration::ZERO));
        assert!(write(Duration::from_secs(59)));
        assert!(!write(Duration::from_millis(59_999)));
        assert!(write(MINUTE));
    }

    #[test]
    fn users_and_kinds_of_access_have_separate_quotas() {
        let (counter, now) = (counter(1), Instant::now());
        assert!(counter.take("a", Access::Write, now).is_ok());
        assert!(counter.take("a", Access::Read, now).is_ok());
        assert!(counter.take("b", Access::Write, now).is_ok());
        assert!(counter.take("a", Access::Write, now).is_err());
    }

    #[test]
    fn users_of_past_minutes_are_evicted() {
        let (counter, now) = (counter(1), Instant::now());
        for user in 0..MAX_WINDOWS {
            assert!(counter.take(&user.to_string(), Access::Read, now).is_ok());
        }
        assert!(counter.take("late", Access::Read, now + MINUTE).is_ok());
        assert_eq!(
            counter.windows.lock().map(|windows| windows.len()).ok(),
            Some(1)
        );
    }
}
