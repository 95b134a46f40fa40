//! The course of one record: make the mail, send it, note what came of it.

use std::time::Duration;

use formline_core::retry::Backoff;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    compose::{Composer, Mail, Rejection},
    limit::{self, Limits},
    server::{Server, Verdict},
};
use crate::{
    Error,
    attempt::Attempt,
    books::Books,
    journal::{Entry, Noted, Outcome},
    lanes::{self, End},
    metrics::Outcomes,
};

/// What deliveries of one sink share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) composer: Composer,
    pub(crate) server: Server,
    pub(crate) limits: Limits,
    pub(crate) books: Books,
    pub(crate) messages: Outcomes,
}

/// Attempts without a known outcome after which a mail is given up as uncertain: the first, and one more.
const DOUBTS: u32 = 2;

// === impl Desk ===

impl lanes::Desk for Desk {
    fn books(&self) -> &Books {
        &self.books
    }

    /// Limits count the last hour, also what was sent before a restart.
    fn memory(&self) -> Duration {
        limit::HOUR
    }

    fn recall(&self, entries: &[Noted]) {
        self.limits.recall(entries);
    }

    fn deliver<'a>(
        &'a self,
        attempt: &'a Attempt,
        past: Option<&'a Entry>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<End, Error>> {
        Box::pin(self.begin(attempt, past, stop))
    }
}

impl Desk {
    async fn begin(
        &self,
        attempt: &Attempt,
        past: Option<&Entry>,
        stop: &CancellationToken,
    ) -> Result<End, Error> {
        if let Some(end) = self.books.is_settled(attempt, past).await? {
            return Ok(end);
        }
        // What was read back is of an assignment ago; the record that waited may know more.
        let noted = past.map_or(0, |entry| match entry.outcome {
            Outcome::Attempting => entry.doubts + 1,
            _ => entry.doubts,
        });
        let doubts = noted.max(attempt.doubts);
        let mail = match self.composer.compose(&attempt.record) {
            Ok(mail) => mail,
            Err(Rejection { reason, detail }) => {
                return self.books.give_up(attempt, reason, "", detail).await;
            }
        };
        // What was counted once is not counted again.
        let is_first = past.is_none() && attempt.number == 1;
        if let Some(Err(detail)) = is_first.then(|| self.limits.take(&mail)) {
            return self
                .books
                .give_up(attempt, "rate-limited", "", detail)
                .await;
        }
        self.send(attempt, &mail, doubts, stop).await
    }

    /// Tries for as long as the server itself is away, or nobody knows what came of it.
    async fn send(
        &self,
        attempt: &Attempt,
        mail: &Mail,
        mut doubts: u32,
        stop: &CancellationToken,
    ) -> Result<End, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        while doubts < DOUBTS {
            if stop.is_cancelled() {
                return Ok(End::Stopped);
            }
            let begins = Entry::now(Outcome::Attempting, attempt, doubts);
            let begins = begins.with_detail(limit::detail(mail));
            if !self.books.note(attempt, begins).await? {
                return Ok(End::Stopped);
            }
            let verdict = self.server.send(mail).await;
            self.messages.count(self.books.sink(), verdict.name());
            let why = match verdict {
                Verdict::Taken => return self.books.finish(attempt, Outcome::Sent, doubts).await,
                Verdict::Refused { why, said } => {
                    return self.books.give_up(attempt, "refused", why, said).await;
                }
                Verdict::PutOff(failure) => {
                    return self.books.put_off(attempt, doubts, failure).await;
                }
                Verdict::Away(why) => {
                    let failed = Entry::now(Outcome::Failed, attempt, doubts).with_detail(&why);
                    if !self.books.note(attempt, failed).await? {
                        return Ok(End::Stopped);
                    }
                    why
                }
                Verdict::Unknown(why) => {
                    doubts += 1;
                    why
                }
            };
            let (sink, record) = (self.books.sink(), &attempt.record);
            tracing::warn!(sink, ?record, why, "a mail was not taken");
            if doubts < DOUBTS {
                self.books.waiting(format!("a mail was not taken: {why}"));
                tokio::select! {
                    () = stop.cancelled() => return Ok(End::Stopped),
                    () = tokio::time::sleep(backoff.delay()) => {}
                }
            }
        }
        self.messages.count(self.books.sink(), "uncertain");
        self.books.finish(attempt, Outcome::Uncertain, doubts).await
    }
}
