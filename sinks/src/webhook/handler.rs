//! The delivery of one record: call the endpoint, record the outcome, defer the record if the call
//! failed.

use formline_core::{
    EventId,
    event::{self, header},
};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::endpoint::{CallOutcome, Endpoint};
use crate::{
    engine::metrics::OutcomeCounter,
    error::Error,
    per_record::{
        attempt::{Attempt, DeliveryStatus},
        entry::{AttemptOutcome, JournalEntry},
        handler::RecordHandler,
        tracker::{AttemptFailure, AttemptTracker},
    },
};

/// What the deliveries of one sink share.
pub(crate) struct WebhookHandler {
    pub(crate) endpoint: Endpoint,
    pub(crate) in_flight: usize,
    pub(crate) tracker: AttemptTracker,
    pub(crate) calls: OutcomeCounter,
}

/// The body of a call, as Standard Webhooks 1.0.0 recommends.
#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'a str,
    timestamp: String,
    /// The form.
    source: &'a str,
    /// The id that the client received; several records can stem from one submission.
    submission: &'a str,
    data: &'a RawValue,
}

/// The type of a record that has no `ce_type`, because another producer wrote it.
const UNTYPED: &str = "formline.record";

// === impl WebhookHandler ===

impl RecordHandler for WebhookHandler {
    fn tracker(&self) -> &AttemptTracker {
        &self.tracker
    }

    fn max_in_flight(&self) -> usize {
        self.in_flight
    }

    /// A call in flight is not stopped, because it ends within its time limit.
    fn deliver<'a>(
        &'a self,
        attempt: &'a Attempt,
        last: Option<&'a JournalEntry>,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<DeliveryStatus, Error>> {
        Box::pin(self.call(attempt, last))
    }
}

impl WebhookHandler {
    async fn call(
        &self,
        attempt: &Attempt,
        last: Option<&JournalEntry>,
    ) -> Result<DeliveryStatus, Error> {
        let tracker = &self.tracker;
        if let Some(status) = tracker.known_status(attempt, last).await? {
            return Ok(status);
        }
        let body = match body(attempt) {
            Ok(body) => body,
            Err(detail) => return tracker.dead_letter(attempt, "not-json", "", detail).await,
        };
        let id = webhook_id(&attempt.key.id);
        let outcome = self.endpoint.call(&id, body.into()).await;
        let (sink, host) = (tracker.sink(), &self.endpoint.host);
        self.calls.count(sink, outcome.label());
        match outcome {
            CallOutcome::Accepted => tracker.finish(attempt, AttemptOutcome::Sent, 0).await,
            CallOutcome::Gone => Err(Error::EndpointGone {
                sink: sink.to_owned(),
                host: host.clone(),
            }),
            CallOutcome::Failed { cause, retry_after } => {
                let (record, number) = (&attempt.record, attempt.number);
                tracing::warn!(sink, host, ?record, number, cause, "a call failed");
                tracker.report_waiting(format!("calls of {host} fail: {cause}"));
                let failure = AttemptFailure::public(cause, retry_after);
                tracker.defer(attempt, 0, failure).await
            }
        }
    }
}

/// The `webhook-id` of a record, the same at each attempt. An id that Formline did not make could
/// end the header or be cut at a dot, so another one is derived from it.
fn webhook_id(id: &[u8]) -> String {
    let own = str::from_utf8(id).ok().and_then(|text| text.parse().ok());
    let id = own.unwrap_or_else(|| EventId::derived(id, "", "webhook", 0));
    id.to_string()
}

/// The body of the call, or why the record cannot be sent.
fn body(attempt: &Attempt) -> Result<Vec<u8>, String> {
    let record = &attempt.record;
    let value = record.value().ok_or("the record has no value")?;
    let data: &RawValue = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let payload = Payload {
        r#type: record.text_header(header::TYPE).unwrap_or(UNTYPED),
        timestamp: event::format_time(attempt.accepted),
        source: record.text_header(header::SOURCE).unwrap_or_default(),
        submission: (record.text_header(header::ORIGIN))
            .or(record.text_header(header::ID))
            .unwrap_or_default(),
        data,
    };
    serde_json::to_vec(&payload).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use formline_core::{Record, kafka::record::Partition};

    use super::*;

    fn attempt(value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Attempt {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        Attempt::of(Record::new(partition, 7, 0, None, value, headers))
    }

    #[test]
    fn a_body_has_type_time_source_submission_and_data() {
        let headers = [
            (header::TYPE, b"formline.points.out".as_slice()),
            (header::SOURCE, b"/forms/quiz"),
            (header::TIME, b"2026-11-21T08:00:00.500000Z"),
            (header::ID, b"7"),
            (header::ORIGIN, b"3"),
        ];
        let body = body(&attempt(Some(br#"{"a": 1.0}"#), &headers));
        assert_eq!(
            String::from_utf8(body.expect("json")).expect("utf-8"),
            r#"{"type":"formline.points.out","timestamp":"2026-11-21T08:00:00.500000Z","source":"/forms/quiz","submission":"3","data":{"a": 1.0}}"#
        );
    }

    #[test]
    fn a_value_that_is_not_json_is_not_sent() {
        for value in [None, Some(b"{".as_slice()), Some(b""), Some(b"\xff")] {
            body(&attempt(value, &[])).expect_err("not json");
        }
    }

    #[test]
    fn a_webhook_id_is_safe_in_a_header_and_the_same_at_each_attempt() {
        let own = "01936f5e-7e39-7cc3-9b6e-0d5a1b1f9c52";
        let id = |headers: &[(&str, &[u8])]| webhook_id(&attempt(None, headers).key.id);
        assert_eq!(id(&[(header::ID, own.as_bytes())]), own);
        let foreign = id(&[(header::ID, b"a.b\r\nc")]);
        assert_eq!(foreign, id(&[(header::ID, b"a.b\r\nc")]));
        assert!(foreign.parse::<EventId>().is_ok());
        assert_ne!(foreign, id(&[]));
    }
}
