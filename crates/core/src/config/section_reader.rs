//! Reads one table of a TOML file, as the entries of its keys in `keys` describe it. It reports
//! wrong values, unknown keys and missing keys.

use std::{collections::BTreeMap, fmt::Display, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeString, DeTable},
};

use super::{
    diagnostic::{Diagnostic, Location, nearest},
    document::{self, Document},
    format::holds_password,
    key::{ConfigKey, Section, ValueType},
    value::TomlValue,
};

/// One table of a document.
pub(crate) struct SectionReader<'a> {
    pub(super) document: &'a Document<'a>,
    /// The keys that it may have.
    section: &'static Section,
    /// The kind of sink, once it is known: it decides which keys apply.
    kind: Option<&'static str>,
    table: &'a DeTable<'a>,
    pub(super) span: Range<usize>,
    /// Keys whose value was reported when it was read.
    unread: Vec<&'static str>,
    /// Absent keys may have been in lines that are not valid TOML.
    torn: bool,
    /// The kind is not known, so other keys may be right, too.
    open: bool,
}

// === impl SectionReader ===

impl<'a> SectionReader<'a> {
    /// Reads a whole document, and returns the result of `read` with all diagnostics.
    pub(crate) fn read_document<T>(
        document: Document<'_>,
        section: &'static Section,
        read: impl FnOnce(&mut SectionReader<'_>) -> T,
    ) -> (T, Vec<Diagnostic>) {
        let (table, _) = DeTable::parse_recoverable(document.text());
        let table = table.into_inner();
        let mut root = SectionReader::below(document::ROOT, &document, section, &table, 0..0);
        let read = read(&mut root);
        root.finish();
        drop(table);
        (read, document.into_diagnostics())
    }

    pub(super) fn new(
        document: &'a Document<'a>,
        section: &'static Section,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        let header = document.location(&span).line;
        Self::below(header, document, section, table, span)
    }

    fn below(
        header: usize,
        document: &'a Document<'a>,
        section: &'static Section,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Self {
            torn: document.lost_sections || document.lost_keys.contains(&header),
            document,
            section,
            kind: None,
            table,
            span,
            unread: Vec::new(),
            open: false,
        }
    }

    /// The folder of the file.
    pub(crate) fn folder(&self) -> &Path {
        self.document.file.parent().unwrap_or(Path::new("."))
    }

    /// The first line of the section.
    pub(crate) fn location(&self) -> Location {
        self.document.location(&self.span)
    }

    /// Reports a problem at a key, or at the section if the key is absent.
    pub(crate) fn report(&self, key: &ConfigKey, problem: impl Display, remedy: impl Display) {
        self.document.report(&self.span_of(key), problem, remedy);
    }

    pub(super) fn span_of(&self, key: &ConfigKey) -> Range<usize> {
        let value = self.table.get(key.name);
        value.map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Returns the value of a result, or reports its error at a key.
    pub(crate) fn or_report<T, E: Display>(
        &self,
        key: &ConfigKey,
        result: Result<T, E>,
        remedy: &str,
    ) -> Option<T> {
        result.map_err(|error| self.report(key, error, remedy)).ok()
    }

    /// Sets the kind of sink. Without one, unknown keys are reported only if they look misspelled.
    pub(crate) fn set_kind(&mut self, kind: Option<&'static str>) {
        self.kind = kind;
        self.open = kind.is_none();
    }

    /// Returns whether the value of a key is unknown for a reason that is already reported. Then
    /// consequences need no diagnostic of their own.
    pub(crate) fn is_unread(&self, key: &ConfigKey) -> bool {
        let is_meant = || {
            self.unknown_keys()
                .any(|(_, meant)| meant == Some(key.name))
        };
        self.unread.contains(&key.name)
            || self.is_absent(key) && (self.torn || key.is_required() || is_meant())
    }

    /// Returns whether absent keys may have been in lines that are not valid TOML.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    fn is_absent(&self, key: &ConfigKey) -> bool {
        !self.table.contains_key(key.name)
    }

    /// Reports every unknown key, and every missing one that is not among them, misspelled.
    pub(crate) fn finish(&self) {
        for (key, meant) in self.unknown_keys() {
            let name: &str = key.get_ref();
            let remedy = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if self.open => continue,
                None => self.elsewhere(name).unwrap_or_else(|| {
                    let known: Vec<_> = self.known_keys().map(|key| key.name).collect();
                    format!("remove it; known are {}", known.join(", "))
                }),
            };
            let problem = format_args!("unknown key `{name}`");
            self.document.report(&key.span(), problem, remedy);
        }
        let missing = self.known_keys().filter(|key| key.is_required());
        for key in missing.filter(|key| self.is_absent(key) && !self.torn) {
            if self
                .unknown_keys()
                .all(|(_, meant)| meant != Some(key.name))
            {
                let problem = format_args!("`{}` is missing", key.name);
                self.document.report(&self.span, problem, addition(key));
            }
        }
    }

    /// The keys that the section may have in the file.
    fn known_keys(&self) -> impl Iterator<Item = &'static ConfigKey> {
        let keys = self.section.keys.iter().copied();
        keys.filter(|key| key.in_file && key.applies_to(self.kind))
    }

    /// Unknown keys, each with the known key that it may be a misspelling of.
    fn unknown_keys(
        &self,
    ) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, Option<&'static str>)> {
        let keys = self.table.iter().map(|(key, _)| key);
        let unknown = keys.filter(|key| self.known_keys().all(|known| known.name != key.get_ref()));
        unknown.map(|key| {
            let name: &str = key.get_ref();
            let near = || nearest(name, self.known_keys().map(|key| key.name));
            let meant = if self.elsewhere(name).is_some() {
                None
            } else {
                near()
            };
            (key, meant)
        })
    }

    /// The remedy for a key that belongs to other kinds of sink or into a variable.
    fn elsewhere(&self, name: &str) -> Option<String> {
        // Kinds that share a key with different defaults have an entry each.
        let named = || self.section.keys.iter().filter(|key| key.name == name);
        let first = named().next()?;
        if let Some(variable) = first.variable.filter(|_| !first.in_file) {
            return Some(format!("set {variable} instead"));
        }
        let kinds: Vec<_> = named().flat_map(|key| key.kinds).copied().collect();
        Some(match kinds.as_slice() {
            [kind] => format!("remove it; only a sink of kind {kind} has it"),
            kinds => format!(
                "remove it; only sinks of kind {} have it",
                kinds.join(" and ")
            ),
        })
    }

    /// Reads the value of a key if it is there, and remembers the key if the value was reported.
    pub(super) fn read<T>(
        &mut self,
        key: &'static ConfigKey,
        read: impl FnOnce(&Self, &'a TomlValue<'a>) -> T,
    ) -> Option<T> {
        debug_assert!(
            self.section
                .keys
                .iter()
                .any(|known| std::ptr::eq(*known, key)),
            "`{}` is a key of another section",
            key.name
        );
        let value = self.table.get(key.name).filter(|_| key.in_file)?;
        let before = self.document.reported();
        let read = read(self, value);
        if self.document.reported() > before {
            self.unread.push(key.name);
        }
        Some(read)
    }

    pub(super) fn map<T>(
        &mut self,
        key: &'static ConfigKey,
        read: impl Fn(&Self, &TomlValue<'_>) -> T,
    ) -> BTreeMap<String, T> {
        let map = self.read(key, |section, value| match value.get_ref().as_table() {
            Some(table) => table
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), read(section, value)))
                .collect(),
            None => (section.document)
                .wrong_type(value, &key.assignment())
                .unwrap_or_default(),
        });
        map.unwrap_or_default()
    }

    pub(super) fn section_value(
        &self,
        keys: &'static Section,
        value: &'a TomlValue<'a>,
    ) -> Option<Self> {
        let table = value.get_ref().as_table()?;
        Some(Self::new(self.document, keys, table, value.span()))
    }

    pub(super) fn text_value(&self, key: &ConfigKey, value: &TomlValue<'_>) -> Option<String> {
        let text = self.document.text_value(value)?;
        if text.is_empty() && key.is_required() {
            self.report_empty(key, value);
            return Some(text);
        }
        if let Some(remedy) = key.password_remedy
            && holds_password(&text)
        {
            (self.document).report(&value.span(), "the file contains a password", remedy);
        }
        // A value that is overridden need not be valid.
        if self.variable(key).is_none() {
            self.check_format(key, &value.span(), &text);
        }
        Some(text)
    }

    pub(super) fn texts_value(&self, key: &ConfigKey, value: &TomlValue<'_>) -> Vec<String> {
        let text = |item| self.text_value(key, item).unwrap_or_default();
        let Some(items) = value.get_ref().as_array() else {
            return vec![text(value)];
        };
        if let ValueType::Texts(_, count) = &key.value {
            if items.is_empty() && !count.contains(&0) {
                self.report_empty(key, value);
            } else if items.len() > *count.end() {
                let problem = format_args!("`{}` has {} items", key.name, items.len());
                let remedy = format_args!("write at most {}", count.end());
                self.document.report(&value.span(), problem, remedy);
            }
        }
        items.iter().map(text).collect()
    }

    fn report_empty(&self, key: &ConfigKey, value: &TomlValue<'_>) {
        let problem = format_args!("`{}` is empty", key.name);
        let remedy = format!("write a value, for instance {}", key.assignment());
        self.document.report(&value.span(), problem, remedy);
    }

    pub(super) fn check_format(&self, key: &ConfigKey, at: &Range<usize>, text: &str) {
        let fault = key.value.format().and_then(|format| (format.check)(text));
        if let Some(fault) = fault {
            self.document.report(at, fault.problem, fault.remedy);
        }
    }

    pub(super) fn variable(&self, key: &ConfigKey) -> Option<String> {
        key.variable.and_then(self.document.environment)
    }
}

/// The remedy for a missing key.
fn addition(key: &ConfigKey) -> String {
    let ValueType::Table(section) = &key.value else {
        return format!("add it, for instance {}", key.assignment());
    };
    let first = section.keys.iter().find(|key| key.is_required());
    let first = first.map(|key| format!(" and {}", key.assignment()));
    format!("begin with [{}]{}", key.name, first.unwrap_or_default())
}
