//! What the tables in `keys` consist of: sections, their keys, and the types of values.

use std::{fmt, ops::RangeInclusive};

use super::format::Format;

/// A table of a TOML file, such as `[[form]]`.
#[derive(Debug)]
pub struct Section {
    /// What it declares, for the reference.
    pub description: &'static str,
    /// All of its keys, in the order of the reference.
    pub keys: &'static [&'static ConfigKey],
}

/// One key that a user can write.
#[derive(Debug)]
pub struct ConfigKey {
    /// Its name in the file.
    pub name: &'static str,
    /// What its value may be.
    pub value: ValueType,
    /// Whether it must be there, and what applies if it is not.
    pub presence: Presence,
    /// The kinds of sink that have this key; empty if all have it.
    pub kinds: &'static [&'static str],
    /// The environment variable that overrides the file.
    pub variable: Option<&'static str>,
    /// The environment variable that applies if neither `variable` nor the file has a value.
    pub fallback: Option<&'static str>,
    /// Whether the file may contain it; if not, only the variable sets it.
    pub in_file: bool,
    /// How to set an address without a password in the file; `None` if the file may contain one.
    pub password_remedy: Option<&'static str>,
    /// The key that it replaces: a file has one or the other.
    pub instead_of: Option<&'static str>,
    /// What it means, with unit and effect, in Markdown.
    pub description: &'static str,
    /// A valid value.
    pub example: Literal,
}

/// What the value of a key may be. A text may contain `${NAME}` in each of them.
#[derive(Debug)]
pub enum ValueType {
    /// A string.
    Text(Option<&'static Format>),
    /// An address that may contain a password, so diagnostics do not quote it.
    Url(&'static Format),
    /// An array of strings; a single string counts as an array of one.
    Texts(Option<&'static Format>, RangeInclusive<usize>),
    /// A whole number.
    Integer(RangeInclusive<i64>),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A table of strings.
    TextMap(Option<&'static Format>),
    /// A table of arrays of strings.
    TextLists(Option<&'static Format>),
    /// Any value.
    Json,
    /// A table with keys of its own.
    Table(&'static Section),
    /// Any number of tables: `[[name]]`.
    Tables(&'static Section),
}

/// Whether a key must be there, and what applies if it is not.
#[derive(Debug)]
pub enum Presence {
    /// It must be there.
    Required,
    /// It may be absent; the description says what applies then.
    Optional,
    /// It may be absent, and this value applies.
    Default(Literal),
}

/// A value in the tables. It is displayed as TOML.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Literal {
    /// A number.
    Integer(i64),
    /// `true` or `false`.
    Flag(bool),
    /// A string.
    Text(&'static str),
    /// An array of strings.
    Texts(&'static [&'static str]),
    /// Anything else, as TOML text.
    Toml(&'static str),
}

// === impl ConfigKey ===

impl ConfigKey {
    const fn new(
        name: &'static str,
        value: ValueType,
        example: Literal,
        description: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            presence: Presence::Optional,
            kinds: &[],
            variable: None,
            fallback: None,
            in_file: true,
            password_remedy: None,
            instead_of: None,
            description,
            example,
        }
    }

    pub(super) const fn required(mut self) -> Self {
        self.presence = Presence::Required;
        self
    }

    pub(super) const fn default(mut self, value: Literal) -> Self {
        self.presence = Presence::Default(value);
        self
    }

    pub(super) const fn example(mut self, value: Literal) -> Self {
        self.example = value;
        self
    }

    pub(super) const fn format(mut self, format: &'static Format) -> Self {
        self.value = match self.value {
            ValueType::Texts(_, items) => ValueType::Texts(Some(format), items),
            ValueType::TextMap(_) => ValueType::TextMap(Some(format)),
            ValueType::TextLists(_) => ValueType::TextLists(Some(format)),
            _ => ValueType::Text(Some(format)),
        };
        self
    }

    pub(super) const fn of(mut self, kinds: &'static [&'static str]) -> Self {
        self.kinds = kinds;
        self
    }

    pub(super) const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    pub(super) const fn fallback(mut self, name: &'static str) -> Self {
        self.fallback = Some(name);
        self
    }

    pub(super) const fn no_password(mut self, remedy: &'static str) -> Self {
        self.password_remedy = Some(remedy);
        self
    }

    pub(super) const fn instead_of(mut self, key: &'static str) -> Self {
        self.instead_of = Some(key);
        self
    }

    pub(super) const fn variable_only(mut self) -> Self {
        self.in_file = false;
        self
    }

    /// Returns whether it must be there.
    pub fn is_required(&self) -> bool {
        matches!(self.presence, Presence::Required)
    }

    /// Returns whether a sink of this kind has the key. Without a kind: whether all kinds have it.
    pub fn applies_to(&self, kind: Option<&str>) -> bool {
        self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind))
    }

    /// The key with its example, as a line of TOML.
    pub(crate) fn assignment(&self) -> String {
        format!("{} = {}", self.name, self.example)
    }
}

// === impl ValueType ===

impl ValueType {
    /// The format of each text in the value.
    pub fn format(&self) -> Option<&'static Format> {
        match self {
            Self::Url(format) => Some(format),
            Self::Text(format)
            | Self::Texts(format, _)
            | Self::TextMap(format)
            | Self::TextLists(format) => *format,
            Self::Integer(_)
            | Self::Flag
            | Self::Choice(_)
            | Self::Json
            | Self::Table(_)
            | Self::Tables(_) => None,
        }
    }
}

// === impl Literal ===

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Toml(text) => f.write_str(text),
        }
    }
}

// === The words of the tables ===

pub(super) const fn text(
    name: &'static str,
    example: &'static str,
    description: &'static str,
) -> ConfigKey {
    let example = Literal::Text(example);
    ConfigKey::new(name, ValueType::Text(None), example, description)
}

pub(super) const fn url(
    name: &'static str,
    format: &'static Format,
    example: &'static str,
    description: &'static str,
) -> ConfigKey {
    let example = Literal::Text(example);
    ConfigKey::new(name, ValueType::Url(format), example, description)
}

pub(super) const fn texts(
    name: &'static str,
    items: RangeInclusive<usize>,
    example: &'static [&'static str],
    description: &'static str,
) -> ConfigKey {
    let example = Literal::Texts(example);
    ConfigKey::new(name, ValueType::Texts(None, items), example, description)
}

/// The default is also the example.
pub(super) const fn integer(
    name: &'static str,
    default: i64,
    range: RangeInclusive<i64>,
    description: &'static str,
) -> ConfigKey {
    let default = Literal::Integer(default);
    ConfigKey::new(name, ValueType::Integer(range), default, description).default(default)
}

/// The default is also the example.
pub(super) const fn flag(
    name: &'static str,
    default: bool,
    description: &'static str,
) -> ConfigKey {
    let default = Literal::Flag(default);
    ConfigKey::new(name, ValueType::Flag, default, description).default(default)
}

/// The first word is the default and the example.
pub(super) const fn choice(
    name: &'static str,
    words: &'static [&'static str],
    description: &'static str,
) -> ConfigKey {
    let first = Literal::Text(words[0]);
    ConfigKey::new(name, ValueType::Choice(words), first, description).default(first)
}

/// A key of another type, with an example in TOML.
pub(super) const fn other(
    name: &'static str,
    value: ValueType,
    example: &'static str,
    description: &'static str,
) -> ConfigKey {
    ConfigKey::new(name, value, Literal::Toml(example), description)
}

pub(super) const fn table(name: &'static str, section: &'static Section) -> ConfigKey {
    let example = Literal::Toml("{}");
    ConfigKey::new(
        name,
        ValueType::Table(section),
        example,
        section.description,
    )
}

pub(super) const fn tables(name: &'static str, section: &'static Section) -> ConfigKey {
    let example = Literal::Toml("[]");
    ConfigKey::new(
        name,
        ValueType::Tables(section),
        example,
        section.description,
    )
}
