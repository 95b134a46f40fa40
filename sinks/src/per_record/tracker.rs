//! What a sink does with a record beside the effect itself, whatever its kind: look at what was noted, note what happens,
//! put it off, give it up.

use std::{sync::Arc, time::Duration};

use formline_core::event;
use jiff::Timestamp;

use crate::{
    Error,
    attempt::Attempt,
    journal::{Entry, Journal, Outcome},
    lanes::End,
    metrics::Metrics,
    parking::{Letter, Parking},
    run::Common,
};

/// The books of one sink.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) journal: Journal,
    metrics: Metrics,
    parking: Parking,
    retries: Arc<str>,
    schedule: Arc<[Duration]>,
}

/// Why an attempt had no effect.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For logs, health and the journal: nothing of the submission.
    pub(crate) why: String,
    /// What the other side has said, for the dead letter, which holds the submission anyway.
    pub(crate) said: String,
    /// How long the other side wants to be left alone.
    pub(crate) patience: Option<Duration>,
}

// === impl Books ===

impl Books {
    pub(crate) fn of(common: &Common) -> Self {
        let (sink, parking) = (&common.sink, common.parking.clone());
        Self {
            journal: Journal::of(sink, common.client.clone(), parking.outbox.clone()),
            metrics: parking.metrics.clone(),
            retries: sink.retries_topic().unwrap_or_default().into(),
            schedule: sink.kind.schedule().into(),
            parking,
        }
    }

    /// Whether nothing is left to do, by what was noted about the record: it is none of ours, it has had its effect, or it
    /// waits elsewhere. What was about to be given up is given up.
    pub(crate) async fn is_settled(
        &self,
        attempt: &Attempt,
        past: Option<&Entry>,
    ) -> Result<Option<End>, Error> {
        if !event::is_for(&attempt.record, &self.parking.sink.group()) {
            return Ok(Some(End::Done));
        }
        let Some(entry) = past else {
            return Ok(None);
        };
        if entry.outcome == Outcome::GivenUp {
            let (reason, detail) = (entry.reason.clone(), entry.detail.clone());
            return self.park(attempt, reason, detail).await.map(Some);
        }
        let waits = entry.outcome == Outcome::PutOff && entry.attempt == attempt.number;
        if entry.is_final() || waits || entry.attempt > attempt.number {
            self.metrics.records("known", 1);
            return Ok(Some(End::Done));
        }
        Ok(None)
    }

    /// The value of the label `sink`.
    pub(crate) fn sink(&self) -> &str {
        self.metrics.sink()
    }

    /// Says in the sink's health why attempts fail.
    pub(crate) fn waiting(&self, why: String) {
        self.parking.outbox.part.waiting(why);
    }

    /// Notes an outcome. False if Kafka was away until the shutdown: then the attempt is one without a known outcome.
    pub(crate) async fn note(&self, attempt: &Attempt, entry: Entry) -> Result<bool, Error> {
        self.journal.write(attempt, entry).await
    }

    /// Notes the final outcome.
    pub(crate) async fn finish(
        &self,
        attempt: &Attempt,
        outcome: Outcome,
        doubts: u32,
    ) -> Result<End, Error> {
        self.parking.outbox.part.ready();
        let entry = Entry::now(outcome, attempt, doubts);
        if !self.note(attempt, entry).await? {
            return Ok(End::Stopped);
        }
        let outcome = match outcome {
            Outcome::Uncertain => "uncertain",
            _ => "written",
        };
        self.metrics.records(outcome, 1);
        let accepted = event::time(&attempt.record).as_microsecond();
        self.metrics.written(std::iter::once(accepted));
        Ok(End::Done)
    }

    /// Has the record wait for its next attempt; a dead letter if this was the last.
    ///
    /// First the record is where it waits, then the journal says so: a crash between the two costs a second chain of
    /// attempts, and the other order would cost the record.
    pub(crate) async fn put_off(
        &self,
        attempt: &Attempt,
        doubts: u32,
        failure: Failure,
    ) -> Result<End, Error> {
        let Failure {
            why,
            said,
            patience,
        } = failure;
        let next = attempt.next(&self.schedule, doubts, patience, Timestamp::now());
        let Some(retry) = next else {
            return self.give_up(attempt, "exhausted", why, said).await;
        };
        let outgoing = || attempt.waiting(&retry, &self.retries);
        let written = self.parking.outbox.put(outgoing).await;
        let written = written.map_err(|source| Error::Retries {
            topic: self.retries.to_string(),
            source,
        })?;
        let entry = Entry::now(Outcome::PutOff, attempt, doubts).with_detail(why);
        if !written || !self.note(attempt, entry).await? {
            return Ok(End::Stopped);
        }
        self.metrics.records("put-off", 1);
        Ok(End::Done)
    }

    /// Parks the record. First the journal says so: after a crash between the two it is parked, and not tried again.
    pub(crate) async fn give_up(
        &self,
        attempt: &Attempt,
        reason: &str,
        why: impl Into<String>,
        said: impl Into<String>,
    ) -> Result<End, Error> {
        let entry = Entry {
            reason: reason.to_owned(),
            ..Entry::now(Outcome::GivenUp, attempt, 0).with_detail(why)
        };
        if !self.note(attempt, entry).await? {
            return Ok(End::Stopped);
        }
        self.park(attempt, reason.to_owned(), said.into()).await
    }

    async fn park(&self, attempt: &Attempt, reason: String, detail: String) -> Result<End, Error> {
        let letter = Letter {
            record: attempt.record.clone(),
            reason: reason.into(),
            detail,
            attempts: attempt.number,
        };
        Ok(match self.parking.park(&letter).await? {
            true => End::Done,
            false => End::Stopped,
        })
    }
}

// === impl Failure ===

impl Failure {
    /// One that may be told to everybody.
    pub(crate) fn open(why: impl Into<String>, patience: Option<Duration>) -> Self {
        let why = why.into();
        Self {
            said: why.clone(),
            why,
            patience,
        }
    }
}
