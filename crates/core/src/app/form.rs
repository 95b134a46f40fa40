//! A form: one HTTP endpoint, what it accepts and where that goes.

use std::path::{Component, Path};

use serde_json::Value;

use super::{
    Location,
    index::{Kind, Part, check_topics},
};
use crate::config::SectionReader;
use crate::{app::schema::Schema, config::nearest};

/// One HTTP endpoint.
#[derive(Debug)]
pub struct Form {
    /// App that declares it.
    pub app: String,
    /// Its name: `POST /v1/forms/<name>/submissions`.
    pub name: String,
    /// Its own path, with and without a trailing slash.
    pub path: String,
    /// Topic of accepted submissions.
    pub topic: String,
    /// Which field becomes the record's key; none means the submission's id.
    pub key: Option<Key>,
    /// What a submission must satisfy.
    pub schema: Schema,
    /// How texts are cleaned before they are checked.
    pub sanitize: Sanitize,
    /// A field that people do not see. Who fills it is a robot, and is answered as if it had succeeded.
    pub honeypot: Option<String>,
    /// Addresses that a browser may be sent to after a submission; the first one is the default.
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

/// How texts are cleaned. HTML and formulas stay as they are: they are text, and every output escapes for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sanitize {
    /// Removes white space around texts.
    pub trim: bool,
    /// Brings texts into Unicode's composed form (NFC), so that equal texts have equal bytes.
    pub nfc: bool,
    /// Removes control characters except line feed, carriage return and tab.
    pub drop_control: bool,
    /// Longest text in characters; a longer one is refused.
    pub max_length: usize,
}

/// How many submissions are taken; 0 means no limit. Beyond it the answer is 429.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RateLimit {
    /// From one client address in a minute.
    pub client_per_minute: u32,
    /// From all clients together in a second.
    pub form_per_second: u32,
}

/// A text of this length still fits into a cell of a sheet.
const DEFAULT_MAX_LENGTH: i64 = 50_000;

// === impl Form ===

impl Form {
    /// The form as the others see it, and itself if its schema can be used.
    pub(super) fn read(section: &mut SectionReader<'_>, app: &str) -> (Part, Option<Self>) {
        let name = section.required_name("name");
        let path = read_path(section);
        let topic = section.required_text("topic");
        check_topics(section, "topic", [&topic]);
        let part = Part {
            kind: Kind::Form { path: path.clone() },
            name: name.clone(),
            reads: Vec::new(),
            writes: vec![topic.clone()],
            location: section.location(),
        };
        let key = section.text("key").map(|text| Key::new(&text));
        let sanitize = Sanitize::read(section);
        let honeypot = section.text("honeypot");
        let redirect = read_addresses(section, "redirect");
        let origins = read_addresses(section, "origins");
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
        (part, form)
    }

    /// Holds the fields that the form names against its schema.
    fn check_fields(&self, section: &SectionReader<'_>) {
        let Some(properties) = self.schema.source()["properties"].as_object() else {
            return;
        };
        if let Some(field) = &self.honeypot
            && properties.contains_key(field)
        {
            section.mistake(
                "honeypot",
                &format!("`{field}` is a field that people fill in"),
                "name one that the schema does not have",
            );
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
            section.mistake(
                "key",
                &format!("the schema has no field `{field}`"),
                &remedy,
            );
        }
    }
}

/// The path without the slash at its end.
fn read_path(section: &mut SectionReader<'_>) -> String {
    let written = section.required_text("path");
    let path = written.trim_end_matches('/').to_owned();
    if written.is_empty() {
        return path;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if path.is_empty() {
        section.mistake(
            "path",
            "the form would take the whole address",
            "name a path below `/`, for instance \"/student-data-form\"",
        );
    } else if !path.starts_with('/') {
        section.mistake(
            "path",
            &format!("`{written}` is not the path of a form"),
            "begin it with `/`, for instance \"/student-data-form\"",
        );
    } else if !path.chars().all(plain) {
        section.mistake(
            "path",
            &format!("the path {path} has characters that an address cannot have"),
            "use letters, digits, `-`, `_`, `.`, `~` and `/`",
        );
    } else if path == "/openapi.json" || path == "/v1" || path.starts_with("/v1/") {
        section.mistake(
            "path",
            &format!("the path {path} belongs to formline itself"),
            "choose one that is not /openapi.json and not below /v1",
        );
    }
    path
}

fn read_addresses(section: &mut SectionReader<'_>, key: &'static str) -> Vec<String> {
    let addresses = section.texts(key);
    let is_web = |address: &str| address.starts_with("https://") || address.starts_with("http://");
    let unread = |address: &str| address.is_empty() && section.is_unread(key);
    for address in &addresses {
        if !is_web(address) && !unread(address) {
            let problem = format!("`{address}` is not a web address");
            section.mistake(key, &problem, "begin it with https://");
        }
    }
    addresses
}

fn read_schema(section: &mut SectionReader<'_>) -> Option<Schema> {
    let file = section.required_text("schema");
    if file.is_empty() {
        return None;
    }
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(&file).components().all(inside) {
        let remedy = "put it into the app's folder, and write its name alone";
        section.mistake("schema", &format!("{file} lies outside the app"), remedy);
        return None;
    }
    let read = std::fs::read_to_string(section.folder().join(&file))
        .map_err(|error| format!("{file} cannot be read: {error}"));
    let text = section.or_mistake("schema", read, "name a file in the app's folder")?;
    let parsed = serde_json::from_str::<Value>(&text)
        .map_err(|error| format!("{file} is not json: {error}"));
    let value = section.or_mistake("schema", parsed, "write valid json in it")?;
    let compiled = Schema::compile(value).map_err(|error| format!("{file}: {error}"));
    section.or_mistake("schema", compiled, "correct the schema")
}

// === impl Key ===

impl Key {
    /// Takes a JSON pointer (`/a/b`) or the name of a field.
    pub fn new(text: &str) -> Self {
        if text.starts_with('/') {
            return Self(text.to_owned());
        }
        Self(format!("/{}", text.replace('~', "~0").replace('/', "~1")))
    }

    /// The key's value in a submission as text; none if it is missing, null, empty, an object or an array.
    pub fn of(&self, submission: &Value) -> Option<String> {
        match submission.pointer(&self.0)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            number @ Value::Number(_) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// The JSON pointer.
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
        let mut table = section.table_or_empty("sanitize");
        let read = Self {
            trim: table.flag("trim", true),
            nfc: table.flag("nfc", true),
            drop_control: table.flag("drop_control", true),
            max_length: table.size("max_length", DEFAULT_MAX_LENGTH, 1..=1_000_000),
        };
        table.finish();
        read
    }
}

impl RateLimit {
    fn read(section: &mut SectionReader<'_>) -> Self {
        let mut table = section.table_or_empty("rate_limit");
        let read = Self {
            client_per_minute: table.count("client_per_minute", 0, 0..=1_000_000),
            form_per_second: table.count("form_per_second", 0, 0..=1_000_000),
        };
        table.finish();
        read
    }
}
