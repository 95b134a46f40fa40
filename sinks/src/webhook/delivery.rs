//! The course of one record: wait until it is due, call, note what came of it, put it off if the call failed.

use std::{borrow::Cow, time::Duration};

use formline_core::{
    EventId, Record,
    event::{self, header},
    producer,
    retry::Backoff,
    telemetry::Part,
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::{
    endpoint::{Answer, Endpoint},
    metrics::Metrics,
    retry::Retry,
};
use crate::{
    Error,
    journal::{Entry, Journal, Outcome},
    lanes::{self, End},
    parking::{Letter, Parking},
};

/// What deliveries of one sink share.
pub(crate) struct Desk {
    pub(crate) endpoint: Endpoint,
    pub(crate) schedule: Vec<Duration>,
    pub(crate) in_flight: usize,
    pub(crate) retries_topic: String,
    pub(crate) journal: Journal,
    pub(crate) parking: Parking,
    pub(crate) metrics: Metrics,
    pub(crate) part: Part,
}

/// One attempt.
struct Attempt<'a> {
    /// The record as it lies in Kafka: entries of the journal lie in the partition of its number.
    read: &'a Record,
    /// The record as it was read first.
    record: Cow<'a, Record>,
    /// From 1.
    number: u32,
}

/// What a receiver is sent, as Standard Webhooks 1.0.0 recommends.
#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'a str,
    timestamp: String,
    source: &'a str,
    data: &'a RawValue,
}

/// For a record of a foreign producer that does not say what it is.
const UNTYPED: &str = "formline.record";

/// The longest sleep before a look at the clock, which somebody may have set.
const LOOK: Duration = Duration::from_secs(60);

// === impl Desk ===

impl lanes::Desk for Desk {
    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn deliver<'a>(
        &'a self,
        record: &'a Record,
        past: Option<&'a Entry>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<End, Error>> {
        Box::pin(self.attempt(record, past, stop))
    }
}

impl Desk {
    async fn attempt(
        &self,
        read: &Record,
        past: Option<&Entry>,
        stop: &CancellationToken,
    ) -> Result<End, Error> {
        if !event::is_for(read, &self.parking.sink.group()) {
            return Ok(End::Done);
        }
        let retry = Retry::read(read);
        let due = retry.as_ref().map(|(retry, _)| retry.clone());
        let attempt = match retry {
            Some((retry, record)) => Attempt {
                read,
                record: Cow::Owned(record),
                number: retry.attempt,
            },
            None => Attempt {
                read,
                record: Cow::Borrowed(read),
                number: 1,
            },
        };
        if past.is_some_and(|entry| attempt.is_known(entry)) {
            self.metrics.common.records("known", 1);
            return Ok(End::Done);
        }
        let body = match body(&attempt.record) {
            Ok(body) => body,
            Err(detail) => return self.park(&attempt, "not-json", detail).await,
        };
        while let Some(wait) = due.as_ref().and_then(|due| due.wait(Timestamp::now())) {
            tokio::select! {
                () = stop.cancelled() => return Ok(End::Stopped),
                () = tokio::time::sleep(wait.min(LOOK)) => {}
            }
        }
        self.call(&attempt, body).await
    }

    async fn call(&self, attempt: &Attempt<'_>, body: Vec<u8>) -> Result<End, Error> {
        match self.endpoint.call(&attempt.id(), body.into()).await {
            Answer::Taken => {
                self.metrics.call("taken");
                self.finish(attempt).await
            }
            Answer::Gone => {
                self.metrics.call("gone");
                Err(Error::EndpointGone {
                    sink: self.parking.sink.group(),
                    host: self.endpoint.host.clone(),
                })
            }
            Answer::Failed { why, retry_after } => {
                self.metrics.call("failed");
                self.put_off(attempt, why, retry_after).await
            }
        }
    }

    async fn finish(&self, attempt: &Attempt<'_>) -> Result<End, Error> {
        self.part.ready();
        if !self.note(attempt, Outcome::Sent, String::new()).await? {
            return Ok(End::Stopped);
        }
        self.metrics.common.records("written", 1);
        let accepted = event::time(&attempt.record).as_microsecond();
        self.metrics.common.written(std::iter::once(accepted));
        Ok(End::Done)
    }

    /// First the record is where it waits, then the journal says so: a crash between the two costs a second chain of
    /// attempts, with the same `webhook-id`, and the other order would cost the record.
    async fn put_off(
        &self,
        attempt: &Attempt<'_>,
        why: String,
        patience: Option<Duration>,
    ) -> Result<End, Error> {
        let (record, number, now) = (&*attempt.record, attempt.number, Timestamp::now());
        let (sink, host) = (self.metrics.common.sink(), &self.endpoint.host);
        tracing::warn!(sink, host, ?record, number, why, "a call failed");
        self.part.waiting(format!("calls of {host} fail: {why}"));
        let next = Retry::after(record, number, &self.schedule, patience, now);
        let is_kept = match &next {
            Some((delay, retry)) => self.write(retry, *delay, record).await?,
            None => self.park(attempt, "exhausted", why.clone()).await? == End::Done,
        };
        let is_noted = is_kept && self.note(attempt, Outcome::Failed, why).await?;
        if is_noted && next.is_some() {
            self.metrics.common.records("put-off", 1);
        }
        Ok(if is_noted { End::Done } else { End::Stopped })
    }

    /// Writes a record into the topic where it waits, for as long as Kafka is away. False if the shutdown came first.
    async fn write(&self, retry: &Retry, delay: usize, record: &Record) -> Result<bool, Error> {
        let (topic, id) = (&self.retries_topic, event::identity(record));
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let outgoing = retry.outgoing(topic, delay, record, &id);
            match self.parking.producer.send(outgoing).await {
                Ok(_) => return Ok(true),
                Err(producer::Error::QueueFull | producer::Error::NotAcknowledged(_)) => {}
                Err(source) => {
                    let topic = topic.clone();
                    return Err(Error::Retries { topic, source });
                }
            }
            if self.parking.shutdown.has_begun() {
                return Ok(false);
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    async fn note(
        &self,
        attempt: &Attempt<'_>,
        outcome: Outcome,
        detail: String,
    ) -> Result<bool, Error> {
        let entry = Entry::now(outcome, attempt.number, detail);
        self.journal.write(attempt.read, &entry).await
    }

    async fn park(
        &self,
        attempt: &Attempt<'_>,
        reason: &'static str,
        detail: String,
    ) -> Result<End, Error> {
        let letter = Letter {
            record: attempt.record.clone().into_owned(),
            reason,
            detail,
            attempts: attempt.number,
        };
        Ok(match self.parking.park(&letter).await? {
            true => End::Done,
            false => End::Stopped,
        })
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    /// Whether the journal says that this attempt was made. A replayed dead letter begins from the first attempt again,
    /// unless the receiver has it.
    fn is_known(&self, entry: &Entry) -> bool {
        let is_replay = self.record.header(header::REPLAY_FOR).is_some();
        entry.is_final() || (!is_replay && entry.attempt >= self.number)
    }

    /// The `webhook-id`: that of the record. What is no id of ours could end the header or be cut at a dot.
    fn id(&self) -> String {
        let own = self.record.text_header(header::ID);
        let id = own.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            let identity = event::identity(&self.record);
            EventId::derived(&identity, "", "webhook", 0)
        });
        id.to_string()
    }
}

/// The text of the call, or why the record has none.
fn body(record: &Record) -> Result<Vec<u8>, String> {
    let value = record.value().ok_or("the record has no value")?;
    let data: &RawValue = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let payload = Payload {
        r#type: record.text_header(header::TYPE).unwrap_or(UNTYPED),
        timestamp: event::format_time(event::time(record)),
        source: record.text_header(header::SOURCE).unwrap_or_default(),
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

    fn id(headers: &[(&str, &[u8])]) -> String {
        let read = &record(None, headers);
        let attempt = Attempt {
            read,
            record: Cow::Borrowed(read),
            number: 1,
        };
        attempt.id()
    }

    #[test]
    fn a_call_says_what_when_and_from_where() {
        let headers = [
            (header::TYPE, b"formline.points.out".as_slice()),
            (header::SOURCE, b"/forms/quiz"),
            (header::TIME, b"2026-11-21T08:00:00.500000Z"),
        ];
        let body = body(&record(Some(br#"{"a": 1.0}"#), &headers));
        assert_eq!(
            String::from_utf8(body.expect("it is json")).expect("utf-8"),
            r#"{"type":"formline.points.out","timestamp":"2026-11-21T08:00:00.500000Z","source":"/forms/quiz","data":{"a": 1.0}}"#
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
        assert_eq!(id(&[(header::ID, own.as_bytes())]), own);
        let foreign = id(&[(header::ID, b"a.b\r\nc")]);
        assert_eq!(foreign, id(&[(header::ID, b"a.b\r\nc")]));
        assert!(foreign.parse::<EventId>().is_ok());
        assert_ne!(foreign, id(&[]));
    }
}
