//! Sends accepted submissions to Kafka; those with an `Idempotency-Key` exactly once.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderValue;
use formline_core::{
    EventId, Producer, Shutdown,
    app::Form,
    event,
    kafka::{producer::ProducerError, record::OutgoingRecord},
    telemetry::HealthCheck,
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::idempotency::{IdempotencyKeys, KeyState, Reserved};
use crate::{
    digest::sha256_hex,
    problem::{Problem, ProblemKind},
};

/// Sends the submissions of all endpoints.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) producer: Arc<Producer>,
    pub(crate) keys: Arc<IdempotencyKeys>,
    /// Runs the tasks of keyed submissions, which must finish even if the client disconnects.
    pub(crate) shutdown: Shutdown,
    pub(crate) failure: ProducerFailure,
}

/// Whether the producer has failed fatally, after which the process must be restarted.
#[derive(Debug)]
pub(crate) struct ProducerFailure {
    pub(crate) part: HealthCheck,
    /// Cancelled when the service must stop accepting requests.
    pub(crate) stop: CancellationToken,
    pub(crate) reason: OnceLock<String>,
}

/// A valid submission that has not been sent.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) form: Arc<Form>,
    /// The path of the form's schema.
    pub(crate) schema: Arc<str>,
    /// The sanitized JSON.
    pub(crate) value: Vec<u8>,
    /// The value of the form's key field.
    pub(crate) subject: Option<String>,
    /// The trace context of the request.
    pub(crate) trace_parent: Option<HeaderValue>,
}

/// Confirms that a submission is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) id: EventId,
    pub(crate) received_at: Timestamp,
    /// Whether the submission was accepted by an earlier request.
    pub(crate) is_replay: bool,
}

// === impl Sender ===

impl Sender {
    /// Returns once Kafka has acknowledged the submission, or after the delivery timeout.
    ///
    /// # Errors
    ///
    /// 503 if the producer's queue is full or Kafka does not acknowledge in time, 413 if Kafka
    /// rejects the record, and the errors of `IdempotencyKeys::reserve`.
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
        let fingerprint = sha256_hex(&draft.value);
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
        // A separate task, because the request is dropped when the client disconnects, and the key
        // must be completed.
        let sender = Arc::clone(self);
        let task = self.shutdown.spawn(async move {
            let sent = sender.deliver(id, &draft, Some(&fingerprint)).await;
            reservation.complete(key_state(&sent));
            sent
        });
        match task.await {
            Ok(Ok(received_at)) => Ok(Receipt {
                id,
                received_at,
                is_replay: false,
            }),
            Ok(Err(error)) => Err(problem(&error)),
            Err(panic) => Err(Problem::new(ProblemKind::Internal, RETRY).with_cause(&panic)),
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
        // Taken as late as possible: sinks order rows by this time, so a small delay between it and
        // the write means that they wait less for late records.
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
        let record = OutgoingRecord {
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
                self.failure.record(error);
            }
        })
    }
}

// === impl ProducerFailure ===

impl ProducerFailure {
    fn record(&self, error: &ProducerError) {
        tracing::error!(%error, "the producer failed fatally, stopping; restart the process");
        self.part.waiting("the producer failed fatally");
        // Requests that fail at the same time fail for the same reason, so the first one is enough.
        self.reason.get_or_init(|| error.to_string());
        self.stop.cancel();
    }
}

/// The state of a key after an attempt to send its submission.
fn key_state(sent: &Result<Timestamp, ProducerError>) -> KeyState {
    match sent {
        Ok(time) => KeyState::Accepted(*time),
        Err(ProducerError::QueueFull | ProducerError::Rejected(_)) => KeyState::Unsent,
        Err(ProducerError::NotAcknowledged(_) | ProducerError::Fatal(_)) => KeyState::Unknown,
    }
}

/// The detail when the outcome is unknown: without a key, sending the submission again may store it
/// twice.
const RETRY: &str =
    "the submission may or may not have been stored; send it again with the same Idempotency-Key";

fn problem(error: &ProducerError) -> Problem {
    let (kind, detail) = match error {
        ProducerError::QueueFull => (ProblemKind::Overloaded, "nothing was stored; send it again"),
        ProducerError::NotAcknowledged(_) | ProducerError::Fatal(_) => {
            (ProblemKind::Unavailable, RETRY)
        }
        ProducerError::Rejected(_) => (
            ProblemKind::TooLarge,
            "nothing was stored: the record is larger than Kafka accepts",
        ),
    };
    Problem::new(kind, detail).with_cause(error)
}

#[cfg(test)]
mod tests {
    use formline_core::Telemetry;

    use super::*;

    #[test]
    fn a_fatal_producer_error_stops_the_service() {
        let (telemetry, stop) = (Telemetry::default(), CancellationToken::new());
        let part = telemetry.readiness_check("ingest");
        part.ready();
        let failure = ProducerFailure {
            part,
            stop: stop.clone(),
            reason: OnceLock::new(),
        };
        failure.record(&ProducerError::QueueFull);
        assert!(stop.is_cancelled() && !telemetry.is_ready());
        assert_eq!(
            failure.reason.get(),
            Some(&ProducerError::QueueFull.to_string())
        );
    }
}
