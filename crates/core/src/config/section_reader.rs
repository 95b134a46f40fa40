//! One table of a TOML file: what stands at its keys, as the type that is asked for. A value that cannot be read is a
//! mistake, and a key that nobody asks for is another.

use std::{
    collections::BTreeMap,
    fmt::Display,
    ops::{Range, RangeInclusive},
    path::Path,
};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    diagnostic::{Location, nearest},
    document::{self, Document},
};

/// One table of a document. What it is asked for is known; the rest is a mistake (`finish`).
pub(crate) struct SectionReader<'a> {
    document: &'a Document<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    known: Vec<&'static str>,
    /// Keys that must be there and are not, and what to write.
    missing: Vec<(&'static str, String)>,
    /// Keys whose value gave a mistake when it was read.
    unread: Vec<&'static str>,
    /// Keys that are not there may be lost in what was no TOML.
    torn: bool,
    /// Other keys may be right, too.
    open: bool,
}

// === impl SectionReader ===

impl<'a> SectionReader<'a> {
    /// The whole document.
    pub(super) fn root(document: &'a Document<'a>, table: &'a DeTable<'a>) -> Self {
        Self::below(document::ROOT, document, table, 0..0)
    }

    fn new(document: &'a Document<'a>, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        let head = document.location(&span).line;
        Self::below(head, document, table, span)
    }

    fn below(
        head: usize,
        document: &'a Document<'a>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Self {
            torn: document.lost_sections || document.lost_keys.contains(&head),
            document,
            table,
            span,
            known: Vec::new(),
            missing: Vec::new(),
            unread: Vec::new(),
            open: false,
        }
    }

    /// The folder that the file lies in.
    pub(crate) fn folder(&self) -> &Path {
        self.document.file.parent().unwrap_or(Path::new("."))
    }

    /// Where the section begins.
    pub(crate) fn location(&self) -> Location {
        self.document.location(&self.span)
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

    /// Whether the value of a key is unknown for a reason that another mistake gives: then what follows from that
    /// needs no mistake of its own. Exact once all keys of the section have been asked for.
    pub(crate) fn is_unread(&self, key: &str) -> bool {
        let is_meant = || self.unknown_keys().any(|(_, meant)| meant == Some(key));
        let is_missing = || self.missing.iter().any(|(name, _)| *name == key);
        self.unread.contains(&key)
            || !self.table.contains_key(key) && (self.torn || is_missing() || is_meant())
    }

    /// Whether keys that are not there may be lost in what was no TOML.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.read(key, Self::as_text)?
    }

    /// A text that must be there. If it is not, that is noted and the text is empty.
    pub(crate) fn required_text(&mut self, key: &'static str) -> String {
        let written = self.read(key, |section, value| section.as_filled_text(key, value));
        if written.is_none() {
            self.require(key, format!("add {key} = \"…\""));
        }
        written.flatten().unwrap_or_default()
    }

    /// The same for one or more texts in a list; a single text counts as a list of one.
    pub(crate) fn required_texts(&mut self, key: &'static str) -> Vec<String> {
        let written = self.read(key, |section, value| {
            let text = |item| section.as_filled_text(key, item).unwrap_or_default();
            match value.get_ref().as_array() {
                Some(items) if !items.is_empty() => items.iter().map(text).collect(),
                Some(_) => {
                    section.note_empty(key, value);
                    Vec::new()
                }
                None => vec![text(value)],
            }
        });
        if written.is_none() {
            self.require(key, format!("add {key} = \"…\""));
        }
        written.unwrap_or_default()
    }

    fn as_filled_text(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = self.as_text(value)?;
        if text.is_empty() {
            self.note_empty(key, value);
        }
        Some(text)
    }

    fn note_empty(&self, key: &str, value: &Spanned<DeValue<'_>>) {
        let remedy = format!("write {key} = \"…\"");
        (self.document).note(&value.span(), format_args!("`{key}` is empty"), remedy);
    }

    /// Notes, unless it turns out to be misspelled, that a key is missing.
    pub(crate) fn require(&mut self, key: &'static str, remedy: String) {
        if !self.table.contains_key(key) {
            self.missing.push((key, remedy));
        }
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
        let written = self.read(key, |section, value| {
            let flag = value.get_ref().as_bool();
            flag.or_else(|| section.wrong_type(value, "true or false"))
        });
        written.flatten().unwrap_or(default)
    }

    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> i64 {
        let written = self.read(key, |section, value| section.as_integer(value, range));
        written.flatten().unwrap_or(default)
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

    /// A list of texts; a single text counts as a list of one. Empty stands for one that could not be read.
    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.read(key, Self::as_texts).unwrap_or_default()
    }

    /// The same; none if nothing is written.
    pub(crate) fn optional_texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.read(key, Self::as_texts)
    }

    /// A table of texts. Empty stands for one that could not be read.
    pub(crate) fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        self.map(key, "a-name = \"…\"", |section, value| {
            section.as_text(value).unwrap_or_default()
        })
    }

    /// A table of lists of texts.
    pub(crate) fn text_lists(&mut self, key: &'static str) -> BTreeMap<String, Vec<String>> {
        self.map(key, "a-port = [\"a-topic\"]", Self::as_texts)
    }

    /// Whatever stands there, as JSON; an empty object if nothing does.
    pub(crate) fn json(&mut self, key: &'static str) -> Value {
        self.read(key, Self::as_json)
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
    }

    pub(crate) fn table(&mut self, key: &'static str) -> Option<Self> {
        self.read(key, |section, value| {
            let table = section.as_section(value);
            table.or_else(|| section.wrong_type(value, "a table"))
        })?
    }

    /// The table, or one without keys at the same place, so that defaults need no second way.
    pub(crate) fn table_or_empty(&mut self, key: &'static str) -> Self {
        static EMPTY: std::sync::LazyLock<DeTable<'static>> =
            std::sync::LazyLock::new(DeTable::new);
        let (document, span) = (self.document, self.span.clone());
        self.table(key)
            .unwrap_or_else(|| Self::new(document, &EMPTY, span))
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let sections = self.read(key, |section, value| {
            let items = value.get_ref().as_array();
            let sections: Option<Vec<Self>> = items.and_then(|items| {
                let sections = items.iter().map(|item| section.as_section(item));
                sections.collect()
            });
            sections.or_else(|| {
                section.wrong_type(value, &format!("[[{key}]] above it, in double brackets"))
            })
        });
        sections.flatten().unwrap_or_default()
    }

    /// Leaves keys alone that nobody asks for, unless they look like misspelled ones.
    pub(crate) fn leave_open(&mut self) {
        self.open = true;
    }

    /// Notes every key that nobody has asked for, and every missing one that is not among them, misspelled.
    pub(crate) fn finish(&self) {
        for (key, meant) in self.unknown_keys() {
            let remedy = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if self.open => continue,
                None => format!("remove it; known are {}", self.known.join(", ")),
            };
            let name: &str = key.get_ref();
            self.document
                .note(&key.span(), format_args!("unknown key `{name}`"), remedy);
        }
        for (key, remedy) in &self.missing {
            let is_misspelled = self.unknown_keys().any(|(_, meant)| meant == Some(key));
            if !is_misspelled && !self.torn {
                self.document
                    .note(&self.span, format_args!("`{key}` is missing"), remedy);
            }
        }
    }

    /// Keys that nobody has asked for, each with the one that may be meant.
    fn unknown_keys(
        &self,
    ) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, Option<&'static str>)> {
        let keys = self.table.iter().map(|(key, _)| key);
        let unknown = keys.filter(|key| !self.known.contains(&key.get_ref().as_ref()));
        unknown.map(|key| (key, nearest(key.get_ref(), self.known.iter().copied())))
    }

    /// Reads what stands at a key, if something does, and remembers the key if that gave a mistake.
    fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Self, &'a Spanned<DeValue<'a>>) -> T,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table.get(key)?;
        let before = self.document.mistakes_so_far();
        let read = read(self, value);
        if self.document.mistakes_so_far() > before {
            self.unread.push(key);
        }
        Some(read)
    }

    fn map<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl Fn(&Self, &Spanned<DeValue<'_>>) -> T,
    ) -> BTreeMap<String, T> {
        let map = self.read(key, |section, value| match value.get_ref().as_table() {
            Some(table) => table
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), read(section, value)))
                .collect(),
            None => section
                .wrong_type(value, &format!("{key} = {{ {example} }}"))
                .unwrap_or_default(),
        });
        map.unwrap_or_default()
    }

    fn as_section(&self, value: &'a Spanned<DeValue<'a>>) -> Option<Self> {
        let table = value.get_ref().as_table()?;
        Some(Self::new(self.document, table, value.span()))
    }

    fn as_text(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref().as_str() {
            Some(text) => self.document.expand(&value.span(), text),
            None => self.wrong_type(value, "a text in quotes"),
        }
    }

    fn as_texts(&self, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        let text = |item| self.as_text(item).unwrap_or_default();
        match value.get_ref().as_array() {
            Some(items) => items.iter().map(text).collect(),
            None => vec![text(value)],
        }
    }

    fn as_integer(&self, value: &Spanned<DeValue<'_>>, range: RangeInclusive<i64>) -> Option<i64> {
        let written = value.get_ref().as_integer();
        let Some(number) = written.and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok())
        else {
            return self.wrong_type(value, "a whole number");
        };
        if !range.contains(&number) {
            let problem = format_args!("{number} is out of range");
            let remedy = format_args!("write {} to {}", range.start(), range.end());
            self.document.note(&value.span(), problem, remedy);
            return None;
        }
        Some(number)
    }

    fn as_json(&self, value: &Spanned<DeValue<'_>>) -> Value {
        let span = value.span();
        match value.get_ref() {
            DeValue::String(text) => {
                Value::String(self.document.expand(&span, text).unwrap_or_default())
            }
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

    /// Always none, for the value that cannot be had.
    fn wrong_type<T>(&self, value: &Spanned<DeValue<'_>>, wanted: &str) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let (problem, remedy) = (format!("{found} stands here"), format!("write {wanted}"));
        self.document.note(&value.span(), problem, remedy);
        None
    }
}
