//! The attributes of an event: CloudEvents 1.0 in Kafka's binary content mode, and the headers that
//! Formline adds.

use jiff::Timestamp;

use super::{header, id::EventId};
use crate::kafka::record::{Headers, Record};

/// The attributes of an accepted submission.
///
/// ```
/// use formline_core::{
///     EventId,
///     event::{Submission, header},
/// };
///
/// let submission = Submission {
///     id: EventId::new(),
///     time: jiff::Timestamp::now(),
///     form: "student-data",
///     subject: Some("99999"),
///     schema: "/v1/forms/student-data/schema",
///     trace_parent: None,
///     fingerprint: None,
/// };
/// let headers = submission.headers();
/// assert_eq!(headers.get(header::SOURCE), Some(b"/forms/student-data".as_slice()));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Id of the event, which never changes.
    pub id: EventId,
    /// Time at which it was accepted.
    pub time: Timestamp,
    /// Name of the form.
    pub form: &'a str,
    /// Value of the form's key field.
    pub subject: Option<&'a str>,
    /// Address of the form's schema.
    pub schema: &'a str,
    /// Trace context of the request.
    pub trace_parent: Option<&'a str>,
    /// Hash of the body; present only if the submission has an `Idempotency-Key`.
    pub fingerprint: Option<&'a str>,
}

/// The `ce_type` of every submission.
const SUBMITTED: &str = "formline.submission.accepted";

// === impl Submission ===

impl Submission<'_> {
    /// Returns the headers of its record.
    pub fn headers(&self) -> Headers {
        let optional = [
            (header::SUBJECT, self.subject),
            (header::TRACE_PARENT, self.trace_parent),
            (header::FINGERPRINT, self.fingerprint),
        ];
        let headers = Headers::with_capacity(10)
            .with(header::SPEC_VERSION, "1.0")
            .with(header::ID, self.id.to_string())
            .with(header::TYPE, SUBMITTED)
            .with(header::SOURCE, source(self.form))
            .with(header::TIME, format_time(self.time))
            .with(header::DATA_SCHEMA, self.schema)
            .with(header::CONTENT_TYPE, "application/json");
        optional
            .into_iter()
            .fold(headers, |headers, (name, value)| match value {
                Some(value) => headers.with(name, value),
                None => headers,
            })
    }
}

/// Returns the headers of the `n`th record that a step sends to `port` while it processes `input`.
///
/// All attributes except id and type are those of the input, so that a chain of steps preserves the
/// source, the time and the trace context of the submission.
pub fn output_headers(input: &Record, step: &str, port: &str, n: u32, plugin: &str) -> Headers {
    let identity = identity(input);
    let origin = input.header(header::ORIGIN).unwrap_or(&identity);
    let mut headers = Headers::with_capacity(12)
        .with(header::SPEC_VERSION, "1.0")
        .with(
            header::ID,
            EventId::derived(&identity, step, port, n).to_string(),
        )
        .with(header::TYPE, format!("formline.{step}.{port}"));
    for name in [
        header::SOURCE,
        header::SUBJECT,
        header::TIME,
        header::TRACE_PARENT,
    ] {
        if let Some(value) = input.header(name) {
            headers = headers.with(name, value);
        }
    }
    headers
        .with(header::CONTENT_TYPE, "application/json")
        .with(header::ORIGIN, origin)
        .with(header::PLUGIN, plugin)
}

/// Returns the identity of a record: its `ce_id`, or its position in Kafka if it comes from a
/// foreign producer and has no id.
pub fn identity(record: &Record) -> Vec<u8> {
    match record.header(header::ID) {
        Some(id) => id.to_vec(),
        None => record.position().to_string().into_bytes(),
    }
}

/// Returns whether a consumer group must process a record. A replayed dead letter is in the topic a
/// second time, only for the group that dead-lettered it; every other group skips it.
pub fn is_for(record: &Record, group: &str) -> bool {
    let addressed_to = record.header(header::REPLAY_FOR);
    addressed_to.is_none_or(|addressed_to| addressed_to == group.as_bytes())
}

/// Returns the `ce_source` of the submissions of a form.
pub fn source(form: &str) -> String {
    format!("/forms/{form}")
}

/// Returns the form that a record originates from, by its `ce_source`.
pub fn form(record: &Record) -> Option<&str> {
    record.text_header(header::SOURCE)?.strip_prefix("/forms/")
}

/// Returns the time at which the submission was accepted, or Kafka's timestamp if the record has no
/// valid `ce_time`.
pub fn time(record: &Record) -> Timestamp {
    let accepted = record
        .text_header(header::TIME)
        .and_then(|text| text.parse().ok());
    accepted
        .or_else(|| Timestamp::from_millisecond(record.timestamp_ms).ok())
        .unwrap_or_default()
}

/// Formats a time as RFC 3339 in UTC with microseconds. The text always has 27 characters, so that
/// texts sort like times.
pub fn format_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_fixed_width() {
        let time: Timestamp = "2026-11-21T08:00:00.5Z".parse().expect("a valid time");
        assert_eq!(format_time(time), "2026-11-21T08:00:00.500000Z");
    }

    #[test]
    fn a_submission_has_every_cloudevents_attribute() {
        let id = EventId::new();
        let submission = Submission {
            id,
            time: Timestamp::UNIX_EPOCH,
            form: "student-data",
            subject: Some("99999"),
            schema: "/v1/forms/student-data/schema",
            trace_parent: None,
            fingerprint: None,
        };
        let headers = submission.headers();
        assert_eq!(headers.get(header::SPEC_VERSION), Some(b"1.0".as_slice()));
        assert_eq!(headers.get(header::ID), Some(id.to_string().as_bytes()));
        assert_eq!(
            headers.get(header::SOURCE),
            Some(b"/forms/student-data".as_slice())
        );
        assert_eq!(
            headers.get(header::TIME),
            Some(b"1970-01-01T00:00:00.000000Z".as_slice())
        );
        assert_eq!(headers.get(header::SUBJECT), Some(b"99999".as_slice()));
        assert_eq!(headers.get(header::FINGERPRINT), None);
    }
}
