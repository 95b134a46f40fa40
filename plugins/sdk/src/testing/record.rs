//! The input and output records of a plug-in under test.

use serde_json::Value;

use crate::Reject;

/// An event to process.
///
/// ```
/// use formline_plugin_sdk::testing::Input;
///
/// let input = Input::new(r#"{"name":"Ann"}"#)
///     .key("1")
///     .header("ce_source", "/forms/students")
///     .timestamp_ms(1_000);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Input {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) timestamp_ms: i64,
    pub(super) attempt: u32,
}

/// A record that the plug-in has sent, as the host would publish it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The plug-in's name for the output.
    pub port: String,
    /// The key; the event's, unless the plug-in has set one.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Vec<u8>,
    /// The headers that the plug-in has added.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The timestamp; the event's, unless the plug-in has set one.
    pub timestamp_ms: i64,
}

/// The result of one event: the records that it sent, or why it was not accepted.
pub type Outcome = Result<Vec<Sent>, Reject>;

// === impl Input ===

impl Input {
    /// An event with this value, without key and headers, at the beginning of 1970.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self {
            value: value.into(),
            ..Self::default()
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the record's timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = timestamp_ms;
        self
    }

    /// Sets how often the plug-in has received the event before.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }
}

// === impl Sent ===

impl Sent {
    /// The value as JSON.
    ///
    /// # Panics
    /// If it is not JSON: the test has failed.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.value).expect("the record's value is JSON")
    }

    /// The value as text.
    ///
    /// # Panics
    /// If it is not UTF-8: the test has failed.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.value).expect("the record's value is UTF-8")
    }

    /// The key as text.
    ///
    /// # Panics
    /// If there is none, or it is not UTF-8: the test has failed.
    pub fn key_text(&self) -> &str {
        let key = self.key.as_deref().expect("the record has a key");
        std::str::from_utf8(key).expect("the record's key is UTF-8")
    }
}
