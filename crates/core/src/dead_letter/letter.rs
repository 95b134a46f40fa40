//! A dead letter as it is read back: what was parked, by whom, and why.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use crate::{
    dead_letter::headers::header,
    event,
    kafka::record::Record,
};

/// A parked record.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its name.
    pub id: LetterId,
    /// When it was parked.
    pub time: Timestamp,
    /// Where the record was read.
    pub place: Place,
    record: Record,
    /// How many of the headers are the record's own.
    own_headers: usize,
}

/// Names a dead letter: `APP/STEP@OFFSET`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LetterId {
    /// App of the step or sink.
    pub app: String,
    /// The step or sink.
    pub step: String,
    /// Offset in its dead-letter topic.
    pub offset: i64,
}

/// Where a record was before it was parked.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

/// A text that names no dead letter.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a dead letter is named APP/STEP@OFFSET, such as demo/rows@17")]
pub struct NoLetterId;

// === impl Letter ===

impl Letter {
    /// None if the record is no dead letter: a settlement, or what somebody else has written.
    pub(crate) fn read(app: &str, step: &str, record: Record) -> Option<Self> {
        let headers = record.headers().enumerate();
        let (own_headers, _) = headers
            .filter(|(_, (name, _))| *name == header::STEP)
            .last()?;
        let number = |name| record.text_header(name)?.parse::<i64>().ok();
        Some(Self {
            id: LetterId {
                app: app.to_owned(),
                step: step.to_owned(),
                offset: record.offset,
            },
            time: record.text_header(header::TIME)?.parse().ok()?,
            place: Place {
                topic: record.text_header(header::TOPIC)?.to_owned(),
                partition: number(header::PARTITION)?.try_into().ok()?,
                offset: number(header::OFFSET)?,
            },
            own_headers,
            record,
        })
    }

    /// A stable code, such as `deadline` or what a plug-in's rejection says.
    pub fn reason(&self) -> &str {
        self.text(header::REASON)
    }

    /// A sentence for a person; a trap's has its backtrace in further lines.
    pub fn detail(&self) -> &str {
        self.text(header::DETAIL)
    }

    /// How often the record was tried.
    pub fn attempts(&self) -> u32 {
        self.text(header::ATTEMPTS).parse().unwrap_or(0)
    }

    /// The plug-in that failed; none for a sink.
    pub fn plugin(&self) -> Option<&str> {
        self.record.text_header(header::PLUGIN)
    }

    /// The form that the record stems from.
    pub fn form(&self) -> Option<&str> {
        event::form(&self.record)
    }

    /// The record's key.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// The record's value.
    pub fn value(&self) -> Option<&[u8]> {
        self.record.value()
    }

    /// The record's headers as they were, without those that say why it was parked.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.record.headers().take(self.own_headers)
    }

    /// The record's own `ce_id`, if it has one.
    pub(crate) fn event_id(&self) -> Option<&[u8]> {
        let mut headers = self.headers();
        headers.find_map(|(name, value)| (name == event::header::ID).then_some(value))
    }

    fn text(&self, name: &str) -> &str {
        self.record.text_header(name).unwrap_or_default()
    }
}

// === impl LetterId ===

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.app, self.step, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = NoLetterId;

    fn from_str(text: &str) -> Result<Self, NoLetterId> {
        let (place, offset) = text.rsplit_once('@').ok_or(NoLetterId)?;
        let (app, step) = place.split_once('/').ok_or(NoLetterId)?;
        let offset = offset.parse().ok().filter(|offset| *offset >= 0);
        Ok(Self {
            app: app.to_owned(),
            step: step.to_owned(),
            offset: offset.ok_or(NoLetterId)?,
        })
    }
}

// === impl Place ===

/// As `Record` shows its own place.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_letter_comes_back() {
        let id: LetterId = "student-data/rows@17".parse().expect("a name");
        assert_eq!(
            (id.app.as_str(), id.step.as_str(), id.offset),
            ("student-data", "rows", 17)
        );
        assert_eq!(id.to_string(), "student-data/rows@17");
        for wrong in [
            "rows@17",
            "demo/rows",
            "demo/rows@",
            "demo/rows@-1",
            "demo/rows@x",
            "",
        ] {
            assert_eq!(wrong.parse::<LetterId>(), Err(NoLetterId), "{wrong}");
        }
    }
}
