//! Which part of which topics the entries of a partition cover.

use std::{collections::BTreeMap, time::Duration};

use formline_core::EventId;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Up to which offsets the changelog and the forms' topics are contained in the entries.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Coverage {
    /// The changelog's id; none before its first record.
    pub(super) generation: Option<EventId>,
    /// The changelog offset after the last contained record; 0 before the first one.
    pub(super) next: i64,
    /// By topic of a form: the offset before which all keyed submissions of the last day are known.
    pub(super) submissions: BTreeMap<String, i64>,
    /// Bytes of all entries of stores.
    pub(super) bytes: u64,
    /// When the entries last covered the whole changelog, in milliseconds since 1970.
    pub(super) known_ms: i64,
}

/// The version of the file format. A file of another version is rebuilt.
const FORMAT: u64 = 1;

// === impl Coverage ===

impl Coverage {
    pub(super) fn to_json(&self) -> String {
        let generation = self.generation.map(|id| id.to_string());
        json!({
            "form": FORMAT,
            "generation": generation,
            "next": self.next,
            "submissions": self.submissions,
            "bytes": self.bytes,
            "known_ms": self.known_ms,
        })
        .to_string()
    }

    /// Reads what [`to_json`](Self::to_json) of this format version writes; none for anything else.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let generation = match &json["generation"] {
            Value::Null => None,
            id => Some(id.as_str()?.parse().ok()?),
        };
        let submissions = json["submissions"].as_object()?.iter();
        let submissions = submissions.map(|(topic, next)| Some((topic.clone(), next.as_i64()?)));
        (json["form"].as_u64()? == FORMAT).then_some(())?;
        Some(Self {
            generation,
            next: json["next"].as_i64()?,
            submissions: submissions.collect::<Option<_>>()?,
            bytes: json["bytes"].as_u64()?,
            known_ms: json["known_ms"].as_i64()?,
        })
    }

    /// Records that the entries cover the whole changelog now.
    pub(super) fn renew(&mut self) {
        self.known_ms = Timestamp::now().as_millisecond();
    }

    /// How long ago the entries last covered the whole changelog. If that time is in the future,
    /// the clock was wrong, and the coverage is unknown: the age is unlimited.
    pub(super) fn age(&self) -> Duration {
        let age_ms = Timestamp::now().as_millisecond() - self.known_ms;
        u64::try_from(age_ms).map_or(Duration::MAX, Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State files of earlier releases contain exactly this text.
    #[test]
    fn the_stored_text_keeps_its_form() {
        let coverage = Coverage {
            generation: "01890a5d-ac96-774b-bcce-b302099a8057".parse().ok(),
            next: 8,
            submissions: [("form".to_owned(), 17)].into(),
            bytes: 400,
            known_ms: 1_000,
        };
        let text = concat!(
            r#"{"form":1,"generation":"01890a5d-ac96-774b-bcce-b302099a8057","next":8,"#,
            r#""submissions":{"form":17},"bytes":400,"known_ms":1000}"#,
        );
        assert!(coverage.generation.is_some());
        assert_eq!(coverage.to_json(), text);
        assert_eq!(Coverage::from_json(text), Some(coverage));
        assert_eq!(
            Coverage::from_json(&text.replace("\"form\":1", "\"form\":2")),
            None
        );
    }
}
