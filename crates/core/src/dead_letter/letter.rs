//! A dead letter as it is read back, with its name and the step or sink that wrote it.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::headers;
use crate::{
    event::{self, header},
    kafka::{
        record::{Record, RecordPosition},
        topic,
    },
};

/// The step or sink whose dead letters are read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetterOwner {
    /// App that declares the step or sink.
    pub app: String,
    /// Name of the step or sink.
    pub step: String,
    /// Its input topics. A dead letter can be replayed only to one of them.
    pub topics: Vec<String>,
}

/// A record that a step or sink could not process.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Name of the dead letter.
    pub id: DeadLetterId,
    /// Time at which the record was dead-lettered.
    pub time: Timestamp,
    /// Position of the original record.
    pub position: RecordPosition,
    record: Record,
    /// Number of headers that belong to the original record.
    original_headers: usize,
}

/// The name of a dead letter: `APP/STEP@OFFSET`.
///
/// ```
/// use formline_core::dead_letter::letter::DeadLetterId;
///
/// let id: DeadLetterId = "demo/rows@17".parse()?;
/// assert_eq!((id.app.as_str(), id.step.as_str(), id.offset), ("demo", "rows", 17));
/// # Ok::<(), formline_core::dead_letter::letter::ParseDeadLetterIdError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeadLetterId {
    /// App of the step or sink.
    pub app: String,
    /// Name of the step or sink.
    pub step: String,
    /// Offset in its dead-letter topic.
    pub offset: i64,
}

/// The text is not a [`DeadLetterId`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the name of a dead letter is APP/STEP@OFFSET, such as demo/rows@17")]
pub struct ParseDeadLetterIdError;

// === impl DeadLetterOwner ===

impl DeadLetterOwner {
    /// Returns the name of its dead-letter topic.
    pub fn topic(&self) -> String {
        topic::dead_letter(&self.app, &self.step)
    }

    /// Returns the name of its consumer group.
    pub fn group(&self) -> String {
        topic::group(&self.app, &self.step)
    }
}

// === impl DeadLetter ===

impl DeadLetter {
    /// Returns `None` if the record is not a dead letter but a resolution record or a record of a
    /// foreign producer.
    pub(crate) fn from_record(app: &str, step: &str, record: Record) -> Option<Self> {
        let headers = record.headers().enumerate();
        let (original_headers, _) = headers
            .filter(|(_, (name, _))| *name == headers::STEP)
            .last()?;
        let number = |name| record.text_header(name)?.parse::<i64>().ok();
        Some(Self {
            id: DeadLetterId {
                app: app.to_owned(),
                step: step.to_owned(),
                offset: record.offset,
            },
            time: record.text_header(headers::TIME)?.parse().ok()?,
            position: RecordPosition {
                topic: record.text_header(headers::TOPIC)?.to_owned(),
                partition: number(headers::PARTITION)?.try_into().ok()?,
                offset: number(headers::OFFSET)?,
            },
            original_headers,
            record,
        })
    }

    /// Returns the reason: a stable code, such as `deadline` or the code of a plug-in's rejection.
    pub fn reason(&self) -> &str {
        self.text(headers::REASON)
    }

    /// Returns an explanation for the operator. That of a trap contains the backtrace in further
    /// lines.
    pub fn detail(&self) -> &str {
        self.text(headers::DETAIL)
    }

    /// Returns the number of attempts.
    pub fn attempts(&self) -> u32 {
        self.text(headers::ATTEMPTS).parse().unwrap_or(0)
    }

    /// Returns the plug-in that failed, or `None` for a sink.
    pub fn plugin(&self) -> Option<&str> {
        self.record.text_header(headers::PLUGIN)
    }

    /// Returns the form that the record originates from.
    pub fn form(&self) -> Option<&str> {
        event::form(&self.record)
    }

    /// Returns the key of the original record.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// Returns the value of the original record.
    pub fn value(&self) -> Option<&[u8]> {
        self.record.value()
    }

    /// Returns the headers of the original record, without the appended ones.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.record.headers().take(self.original_headers)
    }

    /// Returns the `ce_id` of the original record, if it has one.
    pub(crate) fn event_id(&self) -> Option<&[u8]> {
        let mut headers = self.headers();
        headers.find_map(|(name, value)| (name == header::ID).then_some(value))
    }

    fn text(&self, name: &str) -> &str {
        self.record.text_header(name).unwrap_or_default()
    }
}

// === impl DeadLetterId ===

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.app, self.step, self.offset)
    }
}

impl FromStr for DeadLetterId {
    type Err = ParseDeadLetterIdError;

    fn from_str(text: &str) -> Result<Self, ParseDeadLetterIdError> {
        let (owner, offset) = text.rsplit_once('@').ok_or(ParseDeadLetterIdError)?;
        let (app, step) = owner.split_once('/').ok_or(ParseDeadLetterIdError)?;
        let offset = offset.parse().ok().filter(|offset| *offset >= 0);
        Ok(Self {
            app: app.to_owned(),
            step: step.to_owned(),
            offset: offset.ok_or(ParseDeadLetterIdError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_dead_letter_round_trips() {
        let id: DeadLetterId = "student-data/rows@17".parse().expect("a valid name");
        assert_eq!(
            (id.app.as_str(), id.step.as_str(), id.offset),
            ("student-data", "rows", 17)
        );
        assert_eq!(id.to_string(), "student-data/rows@17");
        for invalid in [
            "rows@17",
            "demo/rows",
            "demo/rows@",
            "demo/rows@-1",
            "demo/rows@x",
            "",
        ] {
            assert_eq!(
                invalid.parse::<DeadLetterId>(),
                Err(ParseDeadLetterIdError),
                "{invalid}"
            );
        }
    }
}
