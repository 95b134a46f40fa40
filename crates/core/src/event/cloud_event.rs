//! The record that runs along the line: a CloudEvent 1.0 in Kafka's binary mode, and the headers that Formline adds.

use jiff::Timestamp;

use crate::{
    event::id::EventId,
    kafka::record::{Headers, Record},
};

/// Attributes of an accepted submission.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Its id for life.
    pub id: EventId,
    /// When it was accepted.
    pub time: Timestamp,
    /// Name of the form.
    pub form: &'a str,
    /// The value of the form's key field.
    pub subject: Option<&'a str>,
    /// Address of the form's schema.
    pub schema: &'a str,
    /// Trace context of the request.
    pub trace_parent: Option<&'a str>,
    /// Hash of the body, only for a submission with an `Idempotency-Key`.
    pub fingerprint: Option<&'a str>,
}

/// The kind of every submission.
const SUBMITTED: &str = "formline.submission.accepted";

// === impl Submission ===

impl Submission<'_> {
    /// The headers of its record.
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

/// Headers of the `n`th record that a step sends to `port` while it works on `input`. Everything but the id and the
/// kind is the input's, so that a chain keeps source, time and trace of the submission.
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

/// What makes a record itself: its `ce_id`, or its place in Kafka if a foreign producer gave it none.
pub fn identity(record: &Record) -> Vec<u8> {
    match record.header(header::ID) {
        Some(id) => id.to_vec(),
        None => format!("{record:?}").into_bytes(),
    }
}

/// Whether a consumer group has to work on a record. A replayed dead letter lies in the topic a second time, for the
/// group that gave it up alone: every other group passes over it.
pub fn is_for(record: &Record, group: &str) -> bool {
    let addressed_to = record.header(header::REPLAY_FOR);
    addressed_to.is_none_or(|addressed_to| addressed_to == group.as_bytes())
}

/// The `ce_source` of a form's submissions.
pub fn source(form: &str) -> String {
    format!("/forms/{form}")
}

/// The form that a record stems from, by its `ce_source`.
pub fn form(record: &Record) -> Option<&str> {
    record.text_header(header::SOURCE)?.strip_prefix("/forms/")
}

/// When the submission behind a record was accepted; Kafka's timestamp if it does not say.
pub fn time(record: &Record) -> Timestamp {
    let said = record
        .text_header(header::TIME)
        .and_then(|text| text.parse().ok());
    said.or_else(|| Timestamp::from_millisecond(record.timestamp_ms).ok())
        .unwrap_or_default()
}

/// RFC 3339 in UTC with microseconds: always 27 characters, so that texts sort as times do.
pub fn format_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_width_and_come_back() {
        let time: Timestamp = "2026-11-21T08:00:00.5Z".parse().expect("a time");
        assert_eq!(format_time(time), "2026-11-21T08:00:00.500000Z");
    }

    #[test]
    fn a_submission_carries_every_attribute_of_cloudevents() {
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
