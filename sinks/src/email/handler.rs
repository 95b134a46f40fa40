//! The delivery of one record: compose the message, send it, record the outcome.

use std::time::Duration;

use formline_core::retry::Backoff;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    compose::{Composer, Mail, MailRejection},
    rate_limit::{self, RateLimits},
    server::{SmtpServer, SmtpVerdict},
};
use crate::{
    engine::metrics::OutcomeCounter,
    error::Error,
    per_record::{
        attempt::{Attempt, DeliveryStatus},
        entry::{AttemptOutcome, JournalEntry, RecordedEntry},
        handler::RecordHandler,
        tracker::AttemptTracker,
    },
};

/// What the deliveries of one sink share.
#[derive(Debug)]
pub(crate) struct EmailHandler {
    pub(crate) composer: Composer,
    pub(crate) server: SmtpServer,
    pub(crate) limits: RateLimits,
    pub(crate) tracker: AttemptTracker,
    pub(crate) messages: OutcomeCounter,
}

/// Limit of attempts with an unknown outcome: the first and one repetition. After that, a message
/// is not sent again.
const MAX_UNKNOWN_OUTCOMES: u32 = 2;

// === impl EmailHandler ===

impl RecordHandler for EmailHandler {
    fn tracker(&self) -> &AttemptTracker {
        &self.tracker
    }

    /// The rate limits count the last hour, including messages sent before a restart.
    fn memory(&self) -> Duration {
        rate_limit::HOUR
    }

    fn recall(&self, entries: &[RecordedEntry]) {
        self.limits.recall(entries);
    }

    fn deliver<'a>(
        &'a self,
        attempt: &'a Attempt,
        last: Option<&'a JournalEntry>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<DeliveryStatus, Error>> {
        Box::pin(self.begin(attempt, last, stop))
    }
}

impl EmailHandler {
    async fn begin(
        &self,
        attempt: &Attempt,
        last: Option<&JournalEntry>,
        stop: &CancellationToken,
    ) -> Result<DeliveryStatus, Error> {
        if let Some(status) = self.tracker.known_status(attempt, last).await? {
            return Ok(status);
        }
        // The journal was read when the partition was assigned; a deferred record may know of later
        // attempts.
        let recorded = last.map_or(0, |entry| match entry.outcome {
            AttemptOutcome::Attempting => entry.unknown_outcomes + 1,
            _ => entry.unknown_outcomes,
        });
        let unknown_outcomes = recorded.max(attempt.unknown_outcomes);
        let mail = match self.composer.compose(&attempt.record, &attempt.key.id) {
            Ok(mail) => mail,
            Err(MailRejection { reason, detail }) => {
                return self.tracker.dead_letter(attempt, reason, "", detail).await;
            }
        };
        // A message is counted once, at its first attempt.
        let is_first = last.is_none() && attempt.number == 1;
        if let Some(Err(detail)) = is_first.then(|| self.limits.take(&mail)) {
            let reason = "rate-limited";
            return self.tracker.dead_letter(attempt, reason, "", detail).await;
        }
        self.send(attempt, &mail, unknown_outcomes, stop).await
    }

    /// Retries while the server is unavailable, and after an unknown outcome.
    async fn send(
        &self,
        attempt: &Attempt,
        mail: &Mail,
        mut unknown_outcomes: u32,
        stop: &CancellationToken,
    ) -> Result<DeliveryStatus, Error> {
        let tracker = &self.tracker;
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        while unknown_outcomes < MAX_UNKNOWN_OUTCOMES {
            if stop.is_cancelled() {
                return Ok(DeliveryStatus::Stopped);
            }
            let entry = JournalEntry::now(AttemptOutcome::Attempting, attempt, unknown_outcomes);
            let entry = entry.with_detail(rate_limit::detail(mail));
            if !tracker.write(attempt, entry).await? {
                return Ok(DeliveryStatus::Stopped);
            }
            let verdict = self.server.send(mail).await;
            self.messages.count(tracker.sink(), verdict.label());
            let cause = match verdict {
                SmtpVerdict::Accepted => {
                    let outcome = AttemptOutcome::Sent;
                    return tracker.finish(attempt, outcome, unknown_outcomes).await;
                }
                SmtpVerdict::Rejected { cause, response } => {
                    return tracker
                        .dead_letter(attempt, "refused", cause, response)
                        .await;
                }
                SmtpVerdict::Deferred(failure) => {
                    return tracker.defer(attempt, unknown_outcomes, failure).await;
                }
                SmtpVerdict::Unavailable(cause) => {
                    let outcome = AttemptOutcome::Failed;
                    let entry = JournalEntry::now(outcome, attempt, unknown_outcomes);
                    if !tracker.write(attempt, entry.with_detail(&cause)).await? {
                        return Ok(DeliveryStatus::Stopped);
                    }
                    cause
                }
                SmtpVerdict::Unknown(cause) => {
                    unknown_outcomes += 1;
                    cause
                }
            };
            let (sink, record) = (tracker.sink(), &attempt.record);
            tracing::warn!(sink, ?record, cause, "an e-mail was not accepted");
            if unknown_outcomes < MAX_UNKNOWN_OUTCOMES
                && !self.wait(&cause, backoff.delay(), stop).await
            {
                return Ok(DeliveryStatus::Stopped);
            }
        }
        self.messages.count(tracker.sink(), "uncertain");
        tracker
            .finish(attempt, AttemptOutcome::Unknown, unknown_outcomes)
            .await
    }

    /// Waits before the next attempt. Returns false if the delivery is stopped meanwhile.
    async fn wait(&self, cause: &str, delay: Duration, stop: &CancellationToken) -> bool {
        let state = format!("an e-mail was not accepted: {cause}");
        self.tracker.report_waiting(state);
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(delay) => true,
        }
    }
}
