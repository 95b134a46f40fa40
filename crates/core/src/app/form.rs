//! A form: an HTTP endpoint, what it accepts and where submissions go.

use std::path::{Component, Path};

use serde_json::Value;

use super::{
    index::{Node, NodeKind},
    schema::Schema,
};
use crate::config::{Location, SectionReader, keys::app_toml as keys, nearest};

/// An HTTP endpoint.
#[derive(Debug)]
pub struct Form {
    /// App that declares it.
    pub app: String,
    /// Its name: `POST /v1/forms/<name>/submissions`.
    pub name: String,
    /// Its own path, without a slash at its end; it also accepts one.
    pub path: String,
    /// Topic of accepted submissions.
    pub topic: String,
    /// The field that becomes the key of the record; without it, the key is the submission's id.
    pub key: Option<Key>,
    /// What a submission must satisfy.
    pub schema: Schema,
    /// How texts are cleaned before they are validated.
    pub sanitize: Sanitize,
    /// A field that people do not see. A robot that fills it in receives the response of a success.
    pub honeypot: Option<String>,
    /// Addresses that a browser may be redirected to after a submission; the first one is the
    /// default.
    pub redirect: Vec<String>,
    /// Origins whose pages may submit (CORS), such as `https://example.org`.
    pub origins: Vec<String>,
    /// Limits of the number of submissions.
    pub rate_limit: RateLimit,
    /// Where it is declared.
    pub location: Location,
}

/// A field of a submission, as a JSON pointer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key(String);

/// How texts are cleaned. HTML and formulas are kept: each output escapes them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sanitize {
    /// Removes white space around texts.
    pub trim: bool,
    /// Converts texts to Unicode's composed form (NFC), so that equal texts have equal bytes.
    pub nfc: bool,
    /// Removes control characters except line feed, carriage return and tab.
    pub drop_control: bool,
    /// Maximum length of a text in characters; a longer one is rejected.
    pub max_length: usize,
}

/// How many submissions are accepted; 0 means no limit. Above a limit, the response is 429.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RateLimit {
    /// From one client address in a minute.
    pub client_per_minute: u32,
    /// From all clients together in a second.
    pub form_per_second: u32,
}

// === impl Form ===

impl Form {
    /// Reads a form for the index and, if its schema is usable, for the app.
    pub(super) fn read(section: &mut SectionReader<'_>, app: &str) -> (Node, Option<Self>) {
        let name = section.text(&keys::form::NAME);
        let path = section.text(&keys::form::PATH);
        let path = path.trim_end_matches('/').to_owned();
        let topic = section.text(&keys::form::TOPIC);
        let node = Node {
            kind: NodeKind::Form { path: path.clone() },
            name: name.clone(),
            reads: Vec::new(),
            writes: vec![topic.clone()],
            location: section.location(),
        };
        let key = section.optional_text(&keys::form::KEY);
        let key = key.map(|text| Key::new(&text));
        let sanitize = Sanitize::read(section);
        let honeypot = section.optional_text(&keys::form::HONEYPOT);
        let redirect = section.texts(&keys::form::REDIRECT);
        let origins = section.texts(&keys::form::ORIGINS);
        let rate_limit = RateLimit::read(section);
        let form = read_schema(section).map(|schema| Self {
            app: app.to_owned(),
            name,
            path,
            topic,
            key,
            schema,
            sanitize,
            honeypot,
            redirect,
            origins,
            rate_limit,
            location: section.location(),
        });
        if let Some(form) = &form {
            form.check_fields(section);
        }
        (node, form)
    }

    /// Compares the fields that the form names with its schema.
    fn check_fields(&self, section: &SectionReader<'_>) {
        let Some(properties) = self.schema.source()["properties"].as_object() else {
            return;
        };
        if let Some(field) = &self.honeypot
            && properties.contains_key(field)
        {
            let problem = format_args!("`{field}` is a field of the schema, which people fill in");
            let remedy = "name one that the schema does not have";
            section.report(&keys::form::HONEYPOT, problem, remedy);
        }
        let field = self.key.as_ref().and_then(Key::top_level);
        if let Some(field) = field
            && !properties.contains_key(&field)
        {
            let names = || properties.keys().map(String::as_str);
            let remedy = match nearest(&field, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("name one of {}", names().collect::<Vec<_>>().join(", ")),
            };
            let problem = format_args!("the schema has no field `{field}`");
            section.report(&keys::form::KEY, problem, remedy);
        }
    }
}

fn read_schema(section: &mut SectionReader<'_>) -> Option<Schema> {
    let key = &keys::form::SCHEMA;
    let file = section.text(key);
    if file.is_empty() {
        return None;
    }
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(&file).components().all(inside) {
        let remedy = "put it into the folder of the app, and write its name alone";
        section.report(key, format_args!("{file} is outside of the app"), remedy);
        return None;
    }
    let read = std::fs::read_to_string(section.folder().join(&file))
        .map_err(|error| format!("{file} cannot be read: {error}"));
    let text = section.or_report(key, read, "name a file in the folder of the app")?;
    let parsed = serde_json::from_str::<Value>(&text)
        .map_err(|error| format!("{file} is not JSON: {error}"));
    let value = section.or_report(key, parsed, "write valid JSON in it")?;
    let compiled = Schema::compile(value).map_err(|error| format!("{file}: {error}"));
    section.or_report(key, compiled, "correct the schema")
}

// === impl Key ===

impl Key {
    /// From a JSON pointer (`/a/b`) or the name of a field.
    pub fn new(text: &str) -> Self {
        if text.starts_with('/') {
            return Self(text.to_owned());
        }
        Self(format!("/{}", text.replace('~', "~0").replace('/', "~1")))
    }

    /// Returns the value of the field as text. `None` if it is missing, null, empty, an object or
    /// an array.
    pub fn of(&self, submission: &Value) -> Option<String> {
        match submission.pointer(&self.0)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            number @ Value::Number(_) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// Returns the JSON pointer.
    pub fn pointer(&self) -> &str {
        &self.0
    }

    fn top_level(&self) -> Option<String> {
        let name = self.0.strip_prefix('/')?.split('/').next()?;
        Some(name.replace("~1", "/").replace("~0", "~"))
    }
}

// === Sanitize and RateLimit ===

impl Default for Sanitize {
    fn default() -> Self {
        Self {
            trim: true,
            nfc: true,
            drop_control: true,
            max_length: 50_000,
        }
    }
}

impl Sanitize {
    fn read(section: &mut SectionReader<'_>) -> Self {
        let mut table = section.table_or_empty(&keys::form::SANITIZE);
        let read = Self {
            trim: table.flag(&keys::sanitize::TRIM),
            nfc: table.flag(&keys::sanitize::NFC),
            drop_control: table.flag(&keys::sanitize::DROP_CONTROL),
            max_length: table.size(&keys::sanitize::MAX_LENGTH),
        };
        table.finish();
        read
    }
}

impl RateLimit {
    fn read(section: &mut SectionReader<'_>) -> Self {
        let mut table = section.table_or_empty(&keys::form::RATE_LIMIT);
        let read = Self {
            client_per_minute: table.count(&keys::rate_limit::CLIENT_PER_MINUTE),
            form_per_second: table.count(&keys::rate_limit::FORM_PER_SECOND),
        };
        table.finish();
        read
    }
}
