//! The course of one record: call, note what came of it, put it off if the call failed.

use formline_core::{
    EventId, Record,
    event::{self, header},
};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::endpoint::{Answer, Endpoint};
use crate::{
    Error,
    attempt::Attempt,
    books::{Books, Failure},
    journal::{Entry, Outcome},
    lanes::{self, End},
    metrics::Outcomes,
};

/// What deliveries of one sink share.
pub(crate) struct Desk {
    pub(crate) endpoint: Endpoint,
    pub(crate) in_flight: usize,
    pub(crate) books: Books,
    pub(crate) calls: Outcomes,
}

/// What a receiver is sent, as Standard Webhooks 1.0.0 recommends.
#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'a str,
    timestamp: String,
    /// The form.
    source: &'a str,
    /// The id that the person was answered with; several records may stem from one submission.
    submission: &'a str,
    data: &'a RawValue,
}

/// For a record of a foreign producer that does not say what it is.
const UNTYPED: &str = "formline.record";

// === impl Desk ===

impl lanes::Desk for Desk {
    fn books(&self) -> &Books {
        &self.books
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A call that is under way is not stopped: its answer comes within the time limit.
    fn deliver<'a>(
        &'a self,
        attempt: &'a Attempt,
        past: Option<&'a Entry>,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<End, Error>> {
        Box::pin(self.call(attempt, past))
    }
}

impl Desk {
    async fn call(&self, attempt: &Attempt, past: Option<&Entry>) -> Result<End, Error> {
        if let Some(end) = self.books.is_settled(attempt, past).await? {
            return Ok(end);
        }
        let body = match body(&attempt.record) {
            Ok(body) => body,
            Err(detail) => return self.books.give_up(attempt, "not-json", "", detail).await,
        };
        let id = id(&attempt.record);
        let answer = self.endpoint.call(&id, body.into()).await;
        let (sink, host) = (self.books.sink(), &self.endpoint.host);
        self.calls.count(sink, answer.name());
        match answer {
            Answer::Taken => self.books.finish(attempt, Outcome::Sent, 0).await,
            Answer::Gone => Err(Error::EndpointGone {
                sink: sink.to_owned(),
                host: host.clone(),
            }),
            Answer::Failed { why, retry_after } => {
                let (record, number) = (&attempt.record, attempt.number);
                tracing::warn!(sink, host, ?record, number, why, "a call failed");
                self.books.waiting(format!("calls of {host} fail: {why}"));
                let failure = Failure::open(why, retry_after);
                self.books.put_off(attempt, 0, failure).await
            }
        }
    }
}

/// The `webhook-id`, the same at each attempt: that of the record. What is no id of ours could end the header or be cut at
/// a dot.
fn id(record: &Record) -> String {
    let own = record.text_header(header::ID);
    let id = own.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let identity = event::identity(record);
        EventId::derived(&identity, "", "webhook", 0)
    });
    id.to_string()
}

/// The text of the call, or why the record has none.
fn body(record: &Record) -> Result<Vec<u8>, String> {
    let value = record.value().ok_or("the record has no value")?;
    let data: &RawValue = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let payload = Payload {
        r#type: record.text_header(header::TYPE).unwrap_or(UNTYPED),
        timestamp: event::format_time(event::time(record)),
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
    use formline_core::record::Partition;

    use super::*;

    fn record(value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Record {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        Record::new(partition, 7, 0, None, value, headers)
    }

    #[test]
    fn a_call_says_what_when_and_from_where() {
        let headers = [
            (header::TYPE, b"formline.points.out".as_slice()),
            (header::SOURCE, b"/forms/quiz"),
            (header::TIME, b"2026-11-21T08:00:00.500000Z"),
            (header::ID, b"7"),
            (header::ORIGIN, b"3"),
        ];
        let body = body(&record(Some(br#"{"a": 1.0}"#), &headers));
        assert_eq!(
            String::from_utf8(body.expect("it is json")).expect("utf-8"),
            r#"{"type":"formline.points.out","timestamp":"2026-11-21T08:00:00.500000Z","source":"/forms/quiz","submission":"3","data":{"a": 1.0}}"#
        );
    }

    #[test]
    fn what_is_no_json_is_not_sent() {
        for value in [None, Some(b"{".as_slice()), Some(b""), Some(b"\xff")] {
            body(&record(value, &[])).expect_err("no json");
        }
    }

    #[test]
    fn an_id_is_safe_in_a_header_and_the_same_at_each_attempt() {
        let own = "01936f5e-7e39-7cc3-9b6e-0d5a1b1f9c52";
        let id = |headers: &[(&str, &[u8])]| super::id(&record(None, headers));
        assert_eq!(id(&[(header::ID, own.as_bytes())]), own);
        let foreign = id(&[(header::ID, b"a.b\r\nc")]);
        assert_eq!(foreign, id(&[(header::ID, b"a.b\r\nc")]));
        assert!(foreign.parse::<EventId>().is_ok());
        assert_ne!(foreign, id(&[]));
    }
}
