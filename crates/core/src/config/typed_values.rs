//! The value of each type of key: the variable, or the value in the file, or the default.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use toml::de::DeTable;

use super::{
    diagnostic::nearest,
    key::{ConfigKey, Literal, Presence, ValueType},
    section_reader::SectionReader,
};

// === impl SectionReader ===

impl SectionReader<'_> {
    /// A text that is required or has a default. Empty if it could not be read.
    pub(crate) fn text(&mut self, key: &'static ConfigKey) -> String {
        self.optional_text(key).unwrap_or_default()
    }

    /// The variable, or the text in the file, or the default.
    pub(crate) fn optional_text(&mut self, key: &'static ConfigKey) -> Option<String> {
        let written = self.read(key, |section, value| section.text_value(key, value));
        let variable = self.variable(key);
        if let Some(text) = &variable {
            self.check_format(key, &self.span_of(key), text);
        }
        let fallback = || key.fallback.and_then(self.document.environment);
        let value = variable.or(written.flatten()).or_else(fallback);
        value.or(match key.presence {
            Presence::Default(Literal::Text(text)) => Some(text.to_owned()),
            _ => None,
        })
    }

    /// A text where an empty one counts as absent. Variables cannot be unset everywhere.
    pub(crate) fn filled_text(&mut self, key: &'static ConfigKey) -> Option<String> {
        self.optional_text(key).filter(|text| !text.is_empty())
    }

    /// An array of texts; a single text counts as an array of one. An item that could not be read
    /// is empty. The variable separates items by commas.
    pub(crate) fn texts(&mut self, key: &'static ConfigKey) -> Vec<String> {
        let written = self.read(key, |section, value| section.texts_value(key, value));
        if let Some(variable) = self.variable(key) {
            let items = variable.split(',').map(str::trim);
            let items: Vec<_> = items.filter(|item| !item.is_empty()).collect();
            for item in &items {
                self.check_format(key, &self.span_of(key), item);
            }
            return items.into_iter().map(str::to_owned).collect();
        }
        written.unwrap_or_else(|| match key.presence {
            Presence::Default(Literal::Texts(texts)) => {
                texts.iter().map(|text| (*text).to_owned()).collect()
            }
            _ => Vec::new(),
        })
    }

    /// One of the words of a key. `None` if the key is required and could not be read.
    pub(crate) fn choice(&mut self, key: &'static ConfigKey) -> Option<&'static str> {
        let ValueType::Choice(words) = &key.value else {
            unreachable!("`{}` is declared as a choice", key.name);
        };
        let default = match key.presence {
            Presence::Default(Literal::Text(word)) => Some(word),
            _ => None,
        };
        let written = self.read(key, |section, value| section.text_value(key, value));
        let Some(written) = written.flatten() else {
            return default;
        };
        let found = words.iter().copied().find(|word| *word == written);
        let is_reported = written.is_empty() && key.is_required();
        if found.is_none() && !is_reported {
            let remedy = match nearest(&written, words.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("write one of: {}", words.join(", ")),
            };
            let problem = format_args!("unknown {} `{written}`", key.name);
            self.report(key, problem, remedy);
        }
        found.or(default)
    }

    /// A table of texts. A text that could not be read is empty.
    pub(crate) fn text_map(&mut self, key: &'static ConfigKey) -> BTreeMap<String, String> {
        self.map(key, |section, value| {
            section.text_value(key, value).unwrap_or_default()
        })
    }

    /// A table of arrays of texts.
    pub(crate) fn text_lists(&mut self, key: &'static ConfigKey) -> BTreeMap<String, Vec<String>> {
        self.map(key, |section, value| section.texts_value(key, value))
    }

    /// `true` or `false`: the variable, or the value in the file, or the default.
    pub(crate) fn flag(&mut self, key: &'static ConfigKey) -> bool {
        let Presence::Default(Literal::Flag(default)) = key.presence else {
            unreachable!("`{}` is declared as a flag", key.name);
        };
        let written = self.read(key, |section, value| section.document.flag_value(value));
        let written = written.flatten().unwrap_or(default);
        let variable = self.variable(key).filter(|text| !text.is_empty());
        match variable.map(|text| text.parse()) {
            None => written,
            Some(Ok(flag)) => flag,
            Some(Err(_)) => {
                let name = key.variable.unwrap_or(key.name);
                let problem = format_args!("{name} is neither true nor false");
                self.report(key, problem, "write true or false");
                written
            }
        }
    }

    /// A whole number: the variable, or the value in the file, or the default.
    pub(crate) fn integer(&mut self, key: &'static ConfigKey) -> i64 {
        let (ValueType::Integer(range), Presence::Default(Literal::Integer(default))) =
            (&key.value, &key.presence)
        else {
            unreachable!("`{}` is declared as an integer", key.name);
        };
        let written = self.read(key, |section, value| {
            section.document.integer_value(value, range)
        });
        let written = written.flatten().unwrap_or(*default);
        let Some(text) = self.variable(key) else {
            return written;
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let name = key.variable.unwrap_or(key.name);
                let remedy = format_args!("write {} to {}", range.start(), range.end());
                self.report(key, format_args!("{name} is `{text}`"), remedy);
                written
            }
        }
    }

    /// A whole number; the range of the key fits.
    pub(crate) fn count(&mut self, key: &'static ConfigKey) -> u32 {
        u32::try_from(self.integer(key)).unwrap_or_default()
    }

    /// A whole number; the range of the key fits.
    pub(crate) fn size(&mut self, key: &'static ConfigKey) -> usize {
        usize::try_from(self.integer(key)).unwrap_or_default()
    }

    /// A whole number of milliseconds.
    pub(crate) fn milliseconds(&mut self, key: &'static ConfigKey) -> Duration {
        Duration::from_millis(self.integer(key).unsigned_abs())
    }

    /// Any value as JSON; an empty object if the key is absent.
    pub(crate) fn json(&mut self, key: &'static ConfigKey) -> Value {
        self.read(key, |section, value| section.document.json_value(value))
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
    }

    /// The table of a key.
    pub(crate) fn table(&mut self, key: &'static ConfigKey) -> Option<Self> {
        let ValueType::Table(keys) = &key.value else {
            unreachable!("`{}` is declared as a table", key.name);
        };
        self.read(key, |section, value| {
            let table = section.section_value(keys, value);
            table.or_else(|| section.document.wrong_type(value, "a table"))
        })?
    }

    /// The table of a key, or an empty one, so that the defaults of its keys apply.
    pub(crate) fn table_or_empty(&mut self, key: &'static ConfigKey) -> Self {
        static EMPTY: std::sync::LazyLock<DeTable<'static>> =
            std::sync::LazyLock::new(DeTable::new);
        let ValueType::Table(keys) = &key.value else {
            unreachable!("`{}` is declared as a table", key.name);
        };
        let (document, span) = (self.document, self.span.clone());
        self.table(key)
            .unwrap_or_else(|| Self::new(document, keys, &EMPTY, span))
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static ConfigKey) -> Vec<Self> {
        let ValueType::Tables(keys) = &key.value else {
            unreachable!("`{}` is declared as an array of tables", key.name);
        };
        let sections = self.read(key, |section, value| {
            let items = value.get_ref().as_array();
            let sections: Option<Vec<Self>> = items.and_then(|items| {
                let sections = items.iter().map(|item| section.section_value(keys, item));
                sections.collect()
            });
            let remedy = format!("[[{}]] above it, in double brackets", key.name);
            sections.or_else(|| section.document.wrong_type(value, &remedy))
        });
        sections.flatten().unwrap_or_default()
    }
}
