//! A record as a row. Checks that PostgreSQL does itself, such as for valid JSON, are left to it.

use formline_core::{
    Record,
    event::{self, header},
};

/// A row that is not stored yet.
#[derive(Debug)]
pub(crate) struct ResponseRow {
    pub(crate) id: String,
    /// When the submission was accepted, in microseconds since 1970.
    pub(crate) accepted: i64,
    pub(crate) record: Record,
}

/// Why a record cannot be a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the id is not UTF-8")]
    Id,
    #[error("the value is not UTF-8")]
    Value,
}

// === impl ResponseRow ===

impl ResponseRow {
    /// Reads a record.
    ///
    /// # Errors
    /// The record, and why it cannot be a row.
    pub(crate) fn read(record: Record) -> Result<Self, (Record, Malformed)> {
        let Ok(id) = String::from_utf8(event::identity(&record)) else {
            return Err((record, Malformed::Id));
        };
        if record
            .value()
            .is_some_and(|value| str::from_utf8(value).is_err())
        {
            return Err((record, Malformed::Value));
        }
        Ok(Self {
            id,
            accepted: event::time(&record).as_microsecond(),
            record,
        })
    }

    pub(crate) fn source(&self) -> &str {
        self.text(header::SOURCE).unwrap_or_default()
    }

    pub(crate) fn submission_id(&self) -> &str {
        self.text(header::ORIGIN).unwrap_or(&self.id)
    }

    /// The JSON; `None` if the record deletes its key.
    pub(crate) fn value(&self) -> Option<&str> {
        let value = self.record.value()?;
        Some(str::from_utf8(value).expect("the value was checked when the row was read"))
    }

    /// A header. One that is not UTF-8 is ignored.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.record.text_header(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use formline_core::kafka::record::Partition;

    use super::*;

    fn record(value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Record {
        let partition = Partition {
            topic: "topic".into(),
            number: 3,
        };
        Record::new(partition, 7, 8, None, value, headers)
    }

    #[test]
    fn a_record_of_another_producer_is_identified_by_its_position() {
        let row = ResponseRow::read(record(None, &[])).unwrap();
        assert_eq!((row.id.as_str(), row.accepted), ("topic/3@7", 8_000));
        assert_eq!((row.submission_id(), row.source()), ("topic/3@7", ""));
        assert_eq!((row.value(), row.text(header::SUBJECT)), (None, None));
    }

    #[test]
    fn a_record_that_is_not_text_is_not_a_row() {
        let not_text = [0xff].as_slice();
        let refused =
            |value, headers: &[_]| ResponseRow::read(record(value, headers)).unwrap_err().1;
        assert_eq!(refused(Some(not_text), &[]), Malformed::Value);
        assert_eq!(refused(None, &[(header::ID, not_text)]), Malformed::Id);
    }
}
