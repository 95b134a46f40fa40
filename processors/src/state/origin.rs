//! What the entries of a partition were made of: how far into which topics.

use std::{collections::BTreeMap, time::Duration};

use formline_core::EventId;
use jiff::Timestamp;
use serde_json::{Value, json};

/// How far the changelog and the forms' topics are known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Origin {
    /// The changelog's id; none before its first record.
    pub(super) generation: Option<EventId>,
    /// The offset in the changelog behind the last record that the entries contain; 0 before the first one.
    pub(super) next: i64,
    /// By topic of a form: the offset before which all keyed submissions of the last day are known.
    pub(super) submissions: BTreeMap<String, i64>,
    /// Size of all entries of stores.
    pub(super) bytes: u64,
    /// When the changelog held nothing that is not known here, in milliseconds since 1970.
    pub(super) known_ms: i64,
}

/// Another number when the file's form changes; files of other numbers are made anew.
const FORM: u64 = 1;

// === impl Origin ===

impl Origin {
    pub(super) fn to_json(&self) -> String {
        let generation = self.generation.map(|id| id.to_string());
        json!({
            "form": FORM,
            "generation": generation,
            "next": self.next,
            "submissions": self.submissions,
            "bytes": self.bytes,
            "known_ms": self.known_ms,
        })
        .to_string()
    }

    /// None if this is not what `to_json` of this version writes.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let generation = match &json["generation"] {
            Value::Null => None,
            id => Some(id.as_str()?.parse().ok()?),
        };
        let submissions = json["submissions"].as_object()?.iter();
        let submissions = submissions.map(|(topic, next)| Some((topic.clone(), next.as_i64()?)));
        (json["form"].as_u64()? == FORM).then_some(())?;
        Some(Self {
            generation,
            next: json["next"].as_i64()?,
            submissions: submissions.collect::<Option<_>>()?,
            bytes: json["bytes"].as_u64()?,
            known_ms: json["known_ms"].as_i64()?,
        })
    }

    /// Everything is known at this moment.
    pub(super) fn renew(&mut self) {
        self.known_ms = Timestamp::now().as_millisecond();
    }

    /// For how long it is not certain any more that everything is known. A clock that stands before that moment is wrong,
    /// and nothing is certain.
    pub(super) fn age(&self) -> Duration {
        let age_ms = Timestamp::now().as_millisecond() - self.known_ms;
        u64::try_from(age_ms).map_or(Duration::MAX, Duration::from_millis)
    }
}
