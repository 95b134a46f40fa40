//! Printing of records on terminals and as JSON. Records contain what unknown clients have sent.

use std::{
    borrow::Cow,
    io::{self, Write as _},
};

use anyhow::Result;
use serde_json::{Map, Value};

/// Replaces control characters, which could send commands to the terminal. Keeps line breaks.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_control = |character: char| character.is_control() && character != '\n';
    if text.contains(is_control) {
        text.replace(is_control, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// As [`plain`], for bytes that may not be UTF-8.
pub(crate) fn plain_bytes(bytes: &[u8]) -> String {
    plain(&String::from_utf8_lossy(bytes)).into_owned()
}

/// The value of a record: parsed if it is JSON, else as text.
pub(crate) fn value(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

/// Headers by name. If a name occurs more than once, the last value counts.
pub(crate) fn headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Value {
    let texts = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        (name.to_owned(), Value::from(value))
    });
    texts.collect::<Map<_, _>>().into()
}

/// Prints a result, with one line break at its end.
pub(crate) fn print(text: &str) -> Result<()> {
    let printed = writeln!(io::stdout(), "{}", text.trim_end());
    unless_closed(printed.map_err(Into::into))
}

/// Treats a closed pipe as success: the reader, such as `head`, has read enough.
pub(crate) fn unless_closed(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(
            plain("two\nlines\u{1b}[2J\u{9b}"),
            "two\nlines\u{fffd}[2J\u{fffd}"
        );
        assert_eq!(plain_bytes(b"\x07 \xff"), "\u{fffd} \u{fffd}");
        assert_eq!(plain("ä"), "ä");
    }
}
