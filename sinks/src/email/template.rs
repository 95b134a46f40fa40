//! The templates of a message: subject, plain text, HTML. Values of fields are inserted as text,
//! never evaluated.

use std::{io, path::Path};

use minijinja::{Environment, ErrorKind, UndefinedBehavior, value::Serde};
use serde_json::Value;

/// The templates of one sink.
#[derive(Debug)]
pub(crate) struct Templates {
    environment: Environment<'static>,
    name: String,
}

/// The text of a message.
#[derive(Debug)]
pub(crate) struct MailText {
    pub(crate) subject: String,
    pub(crate) plain: Option<String>,
    pub(crate) html: Option<String>,
}

/// A text that accepts at most `LIMIT` bytes.
struct BoundedText(Vec<u8>);

/// Limit of instructions of one template; beyond it, the record is rejected. One page of text takes
/// a few hundred.
const FUEL: u64 = 100_000;

/// Limit of bytes of one text; beyond it, the record is rejected. Servers accept about 10 MB.
const LIMIT: usize = 256 << 10;

/// Limit of characters of a subject; the rest is cut.
const SUBJECT_LIMIT: usize = 200;

const SUBJECT: &str = "subject";

// === impl Templates ===

impl Templates {
    /// Reads `NAME.txt` and `NAME.html` from the folder; one of them may be missing.
    ///
    /// # Errors
    /// The problem and the remedy, if a template is missing or invalid.
    pub(crate) fn read(
        folder: &Path,
        name: &str,
        subject: &str,
    ) -> Result<Self, (String, &'static str)> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let remedy = "see https://docs.rs/minijinja for the syntax of templates";
        let wrong = |file: &str, error: &minijinja::Error| {
            let problem = format!("{file} is not a valid template: {error}");
            (problem, remedy)
        };
        let mut found = false;
        for file in [format!("{name}.txt"), format!("{name}.html")] {
            match std::fs::read_to_string(folder.join(&file)) {
                Ok(text) => {
                    found = true;
                    let added = environment.add_template_owned(file.clone(), text);
                    added.map_err(|error| wrong(&file, &error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let problem = format!("{file} cannot be read: {error}");
                    return Err((problem, "make it readable, as UTF-8 text"));
                }
            }
        }
        if !found {
            let problem = format!("neither {name}.txt nor {name}.html exists beside app.toml");
            return Err((problem, "write at least one of them"));
        }
        (environment.add_template_owned(SUBJECT, subject.to_owned()))
            .map_err(|error| wrong("the subject", &error))?;
        Ok(Self {
            environment,
            name: name.to_owned(),
        })
    }

    /// The text for these fields.
    ///
    /// # Errors
    /// If a template cannot be filled, such as when a field is missing. The error does not contain
    /// values of fields.
    pub(crate) fn fill(&self, fields: &Value) -> Result<MailText, String> {
        let subject = self.render(SUBJECT, fields)?.unwrap_or_default();
        Ok(MailText {
            subject: one_line(&subject),
            plain: self.render(&format!("{}.txt", self.name), fields)?,
            html: self.render(&format!("{}.html", self.name), fields)?,
        })
    }

    /// `None` if there is no such template.
    fn render(&self, name: &str, fields: &Value) -> Result<Option<String>, String> {
        let Ok(template) = self.environment.get_template(name) else {
            return Ok(None);
        };
        let mut text = BoundedText(Vec::new());
        let fields = minijinja::Value::from(Serde(fields));
        match template.render_captured_to(fields, &mut text) {
            Ok(_) => Ok(Some(String::from_utf8_lossy(&text.0).into_owned())),
            Err(error) => Err(describe(name, &error)),
        }
    }
}

/// Describes an error. Its own text can quote the value of a field.
fn describe(name: &str, error: &minijinja::Error) -> String {
    let line = error.line().unwrap_or_default();
    match error.kind() {
        ErrorKind::UndefinedError => {
            format!("line {line} of {name} uses a field that the record does not have")
        }
        ErrorKind::OutOfFuel => format!("{name} takes more than {FUEL} instructions"),
        ErrorKind::WriteFailure => format!("{name} produces more than {LIMIT} bytes"),
        kind => format!("line {line} of {name} cannot be filled: {kind}"),
    }
}

/// Makes a subject one line, whatever the fields in it contain.
fn one_line(text: &str) -> String {
    let plain = text.split(|c: char| c.is_control() || c.is_whitespace());
    let words: Vec<&str> = plain.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(SUBJECT_LIMIT).collect()
}

// === impl BoundedText ===

impl io::Write for BoundedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LIMIT {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(html: &str, fields: &Value) -> Result<MailText, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("thanks.html"), html).expect("the folder is writable");
        let templates = Templates::read(folder.path(), "thanks", "For {{ name }}");
        templates.expect("the templates are valid").fill(fields)
    }

    #[test]
    fn fields_are_inserted_as_text_and_not_as_markup_or_headers() {
        let fields = json!({ "name": "<b>\r\nBcc: a@example.org\0" });
        let text = fill("<p>{{ name }}</p>", &fields).expect("a text");
        assert_eq!(text.subject, "For <b> Bcc: a@example.org");
        assert!(
            text.html
                .is_some_and(|html| html.starts_with("<p>&lt;b&gt;"))
        );
        assert_eq!(text.plain, None);
    }

    #[test]
    fn errors_of_templates_do_not_contain_values_of_fields() {
        let fields = json!({ "name": "secret" });
        let why = fill("{{ nmae }}", &fields).expect_err("no such field");
        assert!(why.contains("does not have"), "{why}");
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        let why = fill(endless, &fields).expect_err("too long");
        assert!(why.contains("instructions"), "{why}");
        let large = "{% for a in range(50) %}{{ name }}{% endfor %}";
        let why = fill(large, &json!({ "name": "x".repeat(LIMIT / 2) })).expect_err("too large");
        assert!(why.contains("bytes"), "{why}");
        let why = fill("{{ name|int }}", &fields).expect_err("not a number");
        assert!(!why.contains("secret"), "{why}");
    }
}
