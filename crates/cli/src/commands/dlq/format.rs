//! How a dead letter is printed: as one line, or as JSON.

use std::io::Write;

use anyhow::Result;
use formline_core::{dead_letter::letter::DeadLetter, event};
use serde_json::{Value, json};

use crate::terminal;

/// Maximum length of the detail in a line, in characters.
const DETAIL_LENGTH: usize = 60;

/// Prints a dead letter on one line.
pub(super) fn print(out: &mut impl Write, letter: &DeadLetter, json: bool) -> Result<()> {
    if json {
        writeln!(out, "{}", as_json(letter))?;
    } else {
        writeln!(out, "{}", as_line(letter))?;
    }
    Ok(())
}

/// The properties of a dead letter, without its record.
pub(super) fn as_json(letter: &DeadLetter) -> Value {
    json!({
        "letter": letter.id.to_string(),
        "app": letter.id.app,
        "step": letter.id.step,
        "time": event::format_time(letter.time),
        "reason": letter.reason(),
        "detail": letter.detail(),
        "attempts": letter.attempts(),
        "plugin": letter.plugin(),
        "topic": letter.position.topic,
        "partition": letter.position.partition,
        "offset": letter.position.offset,
    })
}

fn as_line(letter: &DeadLetter) -> String {
    let detail = letter.detail().lines().next().unwrap_or_default();
    let detail = match detail.char_indices().nth(DETAIL_LENGTH) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail.to_owned(),
    };
    let (attempts, unit) = match letter.attempts() {
        1 => (1, "attempt"),
        many => (many, "attempts"),
    };
    let time = event::format_time(letter.time);
    let line = format!(
        "{}  {time}  {}  {attempts} {unit}  {detail}",
        letter.id,
        letter.reason()
    );
    terminal::plain(&line).into_owned()
}
