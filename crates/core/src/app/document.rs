//! A TOML file as it was written, read section by section. Every mistake is noted with its line, and reading goes on.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Display,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Location, load::Environment};
use crate::mistake::{Mistake, nearest};

/// The text of a file, what was found wrong with it, and the variables that it may name.
pub(crate) struct Document<'e> {
    file: Arc<PathBuf>,
    text: String,
    environment: Environment<'e>,
    mistakes: RefCell<Vec<Mistake>>,
}

/// One table of a document. What it is asked for is known; the rest is a mistake (`finish`).
pub(crate) struct Section<'a> {
    document: &'a Document<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

// === impl Document ===

impl<'e> Document<'e> {
    pub(crate) fn new(file: PathBuf, text: String, environment: Environment<'e>) -> Self {
        Self {
            file: Arc::new(file),
            text,
            environment,
            mistakes: RefCell::default(),
        }
    }

    /// Parses the text and lets `read` take what it knows.
    pub(crate) fn read<T>(self, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Vec<Mistake>) {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        for error in errors {
            let at = error.span().unwrap_or_default();
            self.note(&at, error.message(), "write valid toml");
        }
        let mut root = Section {
            document: &self,
            table: table.get_ref(),
            span: 0..0,
            known: Vec::new(),
        };
        let read = read(&mut root);
        root.finish();
        drop(table);
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        (read, mistakes)
    }

    fn note(&self, at: &Range<usize>, problem: impl Display, remedy: impl Display) {
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.to_path_buf(),
            line: self.line(at),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        });
    }

    fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.get(..at.start).unwrap_or(&self.text);
        1 + before.bytes().filter(|byte| *byte == b'\n').count()
    }

    /// Puts variables in: `${NAME}`, or `${NAME:-default}`.
    fn expand(&self, at: &Range<usize>, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                self.note(at, "`${` has no `}`", "write ${NAME} or ${NAME:-default}");
                return expanded;
            };
            let (name, default) = match name.split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (name, None),
            };
            let value = (self.environment)(name)
                .filter(|value| !value.is_empty())
                .or(default);
            match value {
                Some(value) => expanded.push_str(&value),
                None => self.note(
                    at,
                    format_args!("the variable {name} is not set"),
                    format_args!("set it, or write ${{{name}:-default}}"),
                ),
            }
            rest = tail;
        }
        expanded.push_str(rest);
        expanded
    }
}

// === impl Section ===

impl<'a> Section<'a> {
    /// The folder that the file lies in.
    pub(crate) fn folder(&self) -> &Path {
        self.document.file.parent().unwrap_or(Path::new("."))
    }

    /// Where the section begins.
    pub(crate) fn location(&self) -> Location {
        Location {
            file: Arc::clone(&self.document.file),
            line: self.document.line(&self.span),
        }
    }

    /// Notes a mistake at a key, or at the section if the key is not there.
    pub(crate) fn mistake(&self, key: &str, problem: &str, remedy: &str) {
        let at = self
            .table
            .get(key)
            .map_or_else(|| self.span.clone(), Spanned::span);
        self.document.note(&at, problem, remedy);
    }

    /// The value of a result, or a mistake at a key.
    pub(crate) fn or_mistake<T, E: Display>(
        &self,
        key: &str,
        result: Result<T, E>,
        remedy: &str,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(key, &error.to_string(), remedy);
                None
            }
        }
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        self.as_text(value)
    }

    /// A text that must be there. If it is not, that is noted and the text is empty.
    pub(crate) fn required_text(&mut self, key: &'static str) -> String {
        if !self.table.contains_key(key) {
            self.known.push(key);
            let problem = format!("`{key}` is missing");
            self.document
                .note(&self.span, problem, format_args!("add {key} = \"…\""));
            return String::new();
        }
        self.text(key).unwrap_or_default()
    }

    /// A name as it may stand in topics, groups and addresses.
    pub(crate) fn required_name(&mut self, key: &'static str) -> String {
        let name = self.required_text(key);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.chars().all(plain) || name.len() > 64 {
            self.mistake(
                key,
                &format!("`{name}` is not a name"),
                "use at most 64 of a-z, 0-9 and `-`",
            );
        }
        name
    }

    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.get(key) else {
            return default;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(value, "true or false");
            default
        })
    }

    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> i64 {
        let Some(value) = self.get(key) else {
            return default;
        };
        let written = value.get_ref().as_integer();
        let parsed = written.and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
        match parsed {
            Some(number) if range.contains(&number) => number,
            Some(number) => {
                let remedy = format!("write {} to {}", range.start(), range.end());
                self.document.note(
                    &value.span(),
                    format_args!("{number} is out of range"),
                    remedy,
                );
                default
            }
            None => {
                self.wrong_type(value, "a whole number");
                default
            }
        }
    }

    pub(crate) fn count(
        &mut self,
        key: &'static str,
        default: u32,
        range: RangeInclusive<i64>,
    ) -> u32 {
        u32::try_from(self.integer(key, default.into(), range)).unwrap_or(default)
    }

    pub(crate) fn size(
        &mut self,
        key: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> usize {
        usize::try_from(self.integer(key, default, range)).unwrap_or_default()
    }

    /// A list of texts; a single text counts as a list of one.
    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.get(key)
            .map(|value| self.as_texts(value))
            .unwrap_or_default()
    }

    /// A table of texts.
    pub(crate) fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let entries = self.entries(key);
        entries
            .filter_map(|(name, value)| Some((name, self.as_text(value)?)))
            .collect()
    }

    /// A table of lists of texts.
    pub(crate) fn text_lists(&mut self, key: &'static str) -> BTreeMap<String, Vec<String>> {
        self.entries(key)
            .map(|(name, value)| (name, self.as_texts(value)))
            .collect()
    }

    /// Whatever stands there, as JSON; an empty object if nothing does.
    pub(crate) fn json(&mut self, key: &'static str) -> Value {
        let empty = || Value::Object(serde_json::Map::new());
        self.get(key)
            .map_or_else(empty, |value| self.as_json(value))
    }

    pub(crate) fn table(&mut self, key: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        let section = self.as_section(value);
        if section.is_none() {
            self.wrong_type(value, "a table");
        }
        section
    }

    /// The table, or one without keys at the same place, so that defaults need no second way.
    pub(crate) fn table_or_empty(&mut self, key: &'static str) -> Self {
        static EMPTY: std::sync::LazyLock<DeTable<'static>> =
            std::sync::LazyLock::new(DeTable::new);
        let (document, span) = (self.document, self.span.clone());
        self.table(key).unwrap_or(Self {
            document,
            table: &EMPTY,
            span,
            known: Vec::new(),
        })
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let items = value.get_ref().as_array();
        let sections: Option<Vec<Self>> =
            items.and_then(|items| items.iter().map(|item| self.as_section(item)).collect());
        sections.unwrap_or_else(|| {
            self.wrong_type(value, &format!("tables, each headed [[{key}]]"));
            Vec::new()
        })
    }

    /// Notes every key that nobody has asked for.
    pub(crate) fn finish(&self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("remove it; known are {}", self.known.join(", ")),
            };
            self.document
                .note(&key.span(), format_args!("unknown key `{name}`"), remedy);
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn entries(
        &mut self,
        key: &'static str,
    ) -> impl Iterator<Item = (String, &'a Spanned<DeValue<'a>>)> + use<'a> {
        let value = self.get(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            self.wrong_type(value, "a table");
        }
        table
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.get_ref().to_string(), value))
    }

    fn as_section(&self, value: &'a Spanned<DeValue<'a>>) -> Option<Self> {
        let table = value.get_ref().as_table()?;
        Some(Self {
            document: self.document,
            table,
            span: value.span(),
            known: Vec::new(),
        })
    }

    fn as_text(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, "a text in quotes");
            return None;
        };
        Some(self.document.expand(&value.span(), text))
    }

    fn as_texts(&self, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        match value.get_ref().as_array() {
            Some(items) => items.iter().filter_map(|item| self.as_text(item)).collect(),
            None => self.as_text(value).into_iter().collect(),
        }
    }

    fn as_json(&self, value: &Spanned<DeValue<'_>>) -> Value {
        let span = value.span();
        match value.get_ref() {
            DeValue::String(text) => Value::String(self.document.expand(&span, text)),
            DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
                Ok(number) => number.into(),
                Err(_) => self.not_json(&span, "the number is too large"),
            },
            DeValue::Float(f) => match f
                .as_str()
                .parse()
                .ok()
                .and_then(serde_json::Number::from_f64)
            {
                Some(number) => Value::Number(number),
                None => self.not_json(&span, "json has no such number"),
            },
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Array(items) => items.iter().map(|item| self.as_json(item)).collect(),
            DeValue::Table(table) => table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), self.as_json(value)))
                .collect(),
        }
    }

    fn not_json(&self, at: &Range<usize>, problem: &str) -> Value {
        self.document
            .note(at, problem, "write a number of at most 64 bits");
        Value::Null
    }

    fn wrong_type(&self, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let problem = format!("here stands a {}", value.get_ref().type_str());
        self.document
            .note(&value.span(), problem, format_args!("write {wanted}"));
    }
}
