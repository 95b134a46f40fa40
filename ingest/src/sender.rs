//! Brings accepted submissions into Kafka, those with an `Idempotency-Key` once.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderValue;
use formline_core::{
    EventId, Producer, Shutdown, app::Form, event, producer::Error as ProducerError,
    record::Outgoing, telemetry::Part,
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    keys::{Keys, Reserved, State, fingerprint},
    problem::{Kind, Problem},
};

/// What all endpoints send through.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) producer: Arc<Producer>,
    pub(crate) keys: Arc<Keys>,
    /// Waits for keyed submissions whose client has left.
    pub(crate) shutdown: Shutdown,
    pub(crate) failure: Failure,
}

/// The producer's end, after which the process must be started anew.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) part: Part,
    /// Cancelled when the service must stop taking requests.
    pub(crate) stop: CancellationToken,
    pub(crate) reason: OnceLock<String>,
}

/// An accepted submission on its way.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) form: Arc<Form>,
    /// Address of the form's schema.
    pub(crate) schema: Arc<str>,
    /// The accepted JSON.
    pub(crate) value: Vec<u8>,
    /// Value of the form's key field.
    pub(crate) subject: Option<String>,
    /// Trace context of the request.
    pub(crate) trace_parent: Option<HeaderValue>,
}

/// The promise that a submission will not be lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) id: EventId,
    pub(crate) received_at: Timestamp,
    /// Whether it repeats an earlier answer.
    pub(crate) is_replay: bool,
}

// === impl Sender ===

impl Sender {
    /// Returns once Kafka has the submission, at the latest after the delivery timeout.
    pub(crate) async fn send(
        self: &Arc<Self>,
        draft: Draft,
        key: Option<&str>,
    ) -> Result<Receipt, Problem> {
        if let Some(key) = key {
            return self.send_once(draft, key).await;
        }
        let id = EventId::new();
        match self.deliver(id, &draft, None).await {
            Ok(received_at) => Ok(Receipt {
                id,
                received_at,
                is_replay: false,
            }),
            Err(error) => Err(problem(&error)),
        }
    }

    async fn send_once(self: &Arc<Self>, draft: Draft, key: &str) -> Result<Receipt, Problem> {
        let id = EventId::keyed(&draft.form.name, key);
        let fingerprint = fingerprint(&draft.value);
        let reservation = match self.keys.reserve(id, &fingerprint)? {
            Reserved::Accepted(received_at) => {
                return Ok(Receipt {
                    id,
                    received_at,
                    is_replay: true,
                });
            }
            Reserved::Fresh(reservation) => reservation,
        };
        // A task of its own: a client that goes away takes its request along, and the key must be settled all the same.
        let sender = Arc::clone(self);
        let task = self.shutdown.spawn(async move {
            let sent = sender.deliver(id, &draft, Some(&fingerprint)).await;
            reservation.settle(state(&sent));
            sent
        });
        match task.await {
            Ok(Ok(received_at)) => Ok(Receipt {
                id,
                received_at,
                is_replay: false,
            }),
            Ok(Err(error)) => Err(problem(&error)),
            Err(panic) => Err(Problem::new(Kind::Internal, RETRY).because(&panic)),
        }
    }

    /// Sends one record and returns its `ce_time`.
    async fn deliver(
        &self,
        id: EventId,
        draft: &Draft,
        fingerprint: Option<&str>,
    ) -> Result<Timestamp, ProducerError> {
        let id_text = id.to_string();
        let trace_parent = draft
            .trace_parent
            .as_ref()
            .and_then(|value| value.to_str().ok());
        // As late as possible: sinks put rows in the order of this time, and what comes late has to wait for less.
        let time = Timestamp::now();
        let submission = event::Submission {
            id,
            time,
            form: &draft.form.name,
            subject: draft.subject.as_deref(),
            schema: &draft.schema,
            trace_parent,
            fingerprint,
        };
        let record = Outgoing {
            topic: &draft.form.topic,
            partition: None,
            key: Some(draft.subject.as_deref().unwrap_or(&id_text).as_bytes()),
            value: Some(&draft.value),
            headers: submission.headers(),
            timestamp_ms: None,
        };
        let sent = self.producer.send(record).await.map(|_| time);
        sent.inspect_err(|error| {
            if let ProducerError::Fatal(_) = error {
                self.failure.note(error);
            }
        })
    }
}

// === impl Failure ===

impl Failure {
    fn note(&self, error: &ProducerError) {
        tracing::error!(%error, "the producer failed for good, the service stops");
        self.part.waiting("the producer failed for good");
        // Requests that fail at the same moment fail for the same reason; the first one is kept.
        self.reason.get_or_init(|| error.to_string());
        self.stop.cancel();
    }
}

/// What is known of a key after an attempt.
fn state(sent: &Result<Timestamp, ProducerError>) -> State {
    match sent {
        Ok(time) => State::Accepted(*time),
        Err(ProducerError::QueueFull | ProducerError::Refused(_)) => State::Unsent,
        Err(ProducerError::NotAcknowledged(_) | ProducerError::Fatal(_)) => State::Unknown,
    }
}

/// Without a key, a repetition would be a second submission: the first one may be in the log.
const RETRY: &str =
    "the submission may or may not have been stored; send it again with the same Idempotency-Key";

fn problem(error: &ProducerError) -> Problem {
    let (kind, detail) = match error {
        ProducerError::QueueFull => (Kind::Overloaded, "nothing was stored; send it again"),
        ProducerError::NotAcknowledged(_) | ProducerError::Fatal(_) => (Kind::Unavailable, RETRY),
        ProducerError::Refused(_) => (
            Kind::TooLarge,
            "nothing was stored: the record is larger than Kafka takes",
        ),
    };
    Problem::new(kind, detail).because(error)
}

#[cfg(test)]
mod tests {
    use formline_core::Telemetry;

    use super::*;

    #[test]
    fn the_end_of_the_producer_stops_the_service_and_says_why() {
        let (telemetry, stop) = (Telemetry::default(), CancellationToken::new());
        let part = telemetry.entrance("ingest");
        part.ready();
        let failure = Failure {
            part,
            stop: stop.clone(),
            reason: OnceLock::new(),
        };
        failure.note(&ProducerError::QueueFull);
        assert!(stop.is_cancelled() && !telemetry.is_ready());
        assert_eq!(
            failure.reason.get(),
            Some(&ProducerError::QueueFull.to_string())
        );
    }
}
