//! What records look like on a terminal and as JSON. They hold what strangers have sent.

use std::{borrow::Cow, io};

use anyhow::Result;
use serde_json::{Map, Value};

/// Without control characters, which could command a terminal; line breaks stay.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let is_control = |character: char| character.is_control() && character != '\n';
    if text.contains(is_control) {
        text.replace(is_control, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// The same for bytes that may be no text.
pub(super) fn plain_bytes(bytes: &[u8]) -> String {
    plain(&String::from_utf8_lossy(bytes)).into_owned()
}

/// A record's value as JSON if it is some, else as text.
pub(super) fn value(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

/// Headers by name; of several with one name the last.
pub(super) fn headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Value {
    let texts = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        (name.to_owned(), Value::from(value))
    });
    texts.collect::<Map<_, _>>().into()
}

/// Whoever read the output, such as `head`, may have seen enough: that is no failure.
pub(super) fn unless_closed(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if is_closed(&error) => Ok(()),
        other => other,
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(
            plain("two\nlines\u{1b}[2J\u{9b}"),
            "two\nlines\u{fffd}[2J\u{fffd}"
        );
        assert_eq!(plain_bytes(b"\x07 \xff"), "\u{fffd} \u{fffd}");
        assert_eq!(plain("ä"), "ä");
    }
}
