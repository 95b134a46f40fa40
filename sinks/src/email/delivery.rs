//! The course of one record: look at the journal, make the mail, send it, note what came of it.

use std::{collections::VecDeque, time::Duration};

use formline_core::{Record, event, retry::Backoff, telemetry::Part};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    compose::{Composer, Mail, Rejection},
    limit::{self, Limits},
    metrics::Metrics,
    server::{Server, Verdict},
};
use crate::{
    Error,
    journal::{Entry, Journal, Noted, Outcome},
    lanes::{self, End},
    parking::{Letter, Parking},
};

/// What deliveries of one sink share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) composer: Composer,
    pub(crate) server: Server,
    pub(crate) limits: Limits,
    pub(crate) journal: Journal,
    pub(crate) parking: Parking,
    pub(crate) metrics: Metrics,
    pub(crate) part: Part,
}

/// Attempts without a known outcome after which a mail is given up as uncertain: the first, and one more.
const DOUBTS: u32 = 2;

// === impl Desk ===

impl lanes::Desk for Desk {
    fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Limits count the last hour, also what was sent before a restart.
    fn memory(&self) -> Duration {
        limit::HOUR
    }

    fn recall(&self, entries: &VecDeque<Noted>) {
        self.limits.recall(entries);
    }

    fn deliver<'a>(
        &'a self,
        record: &'a Record,
        past: Option<&'a Entry>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<End, Error>> {
        Box::pin(self.send(record, past, stop))
    }
}

impl Desk {
    async fn send(
        &self,
        record: &Record,
        past: Option<&Entry>,
        stop: &CancellationToken,
    ) -> Result<End, Error> {
        if !event::is_for(record, &self.parking.sink.group()) {
            return Ok(End::Done);
        }
        let doubts = match past.map(|entry| (entry.outcome, entry.attempt)) {
            None => 0,
            Some((Outcome::Sent | Outcome::Uncertain, _)) => {
                self.metrics.common.records("known", 1);
                return Ok(End::Done);
            }
            Some((Outcome::Attempting, attempt)) => attempt,
            Some((Outcome::Failed, attempt)) => attempt.saturating_sub(1),
        };
        let mail = match self.composer.compose(record) {
            Ok(mail) => mail,
            Err(Rejection { reason, detail }) => return self.park(record, reason, detail).await,
        };
        // What was counted once is not counted again.
        if past.is_none()
            && let Err(detail) = self.limits.take(&mail)
        {
            return self.park(record, "rate-limited", detail).await;
        }
        self.attempt(record, &mail, doubts, stop).await
    }

    async fn attempt(
        &self,
        record: &Record,
        mail: &Mail,
        mut doubts: u32,
        stop: &CancellationToken,
    ) -> Result<End, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        while doubts < DOUBTS {
            if stop.is_cancelled() {
                return Ok(End::Stopped);
            }
            let attempt = doubts + 1;
            if !self
                .note(record, Outcome::Attempting, attempt, limit::detail(mail))
                .await?
            {
                return Ok(End::Stopped);
            }
            let why = match self.server.send(mail).await {
                Verdict::Taken => {
                    self.metrics.message("sent");
                    return self.finish(record, Outcome::Sent, attempt).await;
                }
                Verdict::Refused(why) => {
                    self.metrics.message("refused");
                    let noted = self
                        .note(record, Outcome::Failed, attempt, why.clone())
                        .await?;
                    return match noted {
                        true => self.park(record, "refused", why).await,
                        false => Ok(End::Stopped),
                    };
                }
                Verdict::NotSent(why) => {
                    self.metrics.message("not-sent");
                    if !self
                        .note(record, Outcome::Failed, attempt, why.clone())
                        .await?
                    {
                        return Ok(End::Stopped);
                    }
                    why
                }
                Verdict::Unknown(why) => {
                    self.metrics.message("unknown");
                    doubts = attempt;
                    why
                }
            };
            let sink = self.metrics.common.sink();
            tracing::warn!(sink, ?record, why, "a mail was not taken");
            if doubts < DOUBTS {
                self.part.waiting(format!("a mail was not taken: {why}"));
                tokio::select! {
                    () = stop.cancelled() => return Ok(End::Stopped),
                    () = tokio::time::sleep(backoff.delay()) => {}
                }
            }
        }
        self.metrics.message("uncertain");
        self.finish(record, Outcome::Uncertain, doubts).await
    }

    /// Notes the final outcome. If Kafka is away at the shutdown, the attempt counts as one without a known outcome.
    async fn finish(&self, record: &Record, outcome: Outcome, attempt: u32) -> Result<End, Error> {
        self.part.ready();
        if !self.note(record, outcome, attempt, String::new()).await? {
            return Ok(End::Stopped);
        }
        self.metrics.common.records("written", 1);
        let accepted = event::time(record).as_microsecond();
        self.metrics.common.written(std::iter::once(accepted));
        Ok(End::Done)
    }

    async fn note(
        &self,
        record: &Record,
        outcome: Outcome,
        attempt: u32,
        detail: String,
    ) -> Result<bool, Error> {
        let entry = Entry::now(outcome, attempt, detail);
        self.journal.write(record, &entry).await
    }

    async fn park(
        &self,
        record: &Record,
        reason: &'static str,
        detail: String,
    ) -> Result<End, Error> {
        let letter = Letter {
            record: record.clone(),
            reason,
            detail,
            attempts: 1,
        };
        Ok(match self.parking.park(&letter).await? {
            true => End::Done,
            false => End::Stopped,
        })
    }
}
