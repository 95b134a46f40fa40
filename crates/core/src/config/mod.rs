//! The configuration files `app.toml` and `formline.toml`: the table of their keys, and a reader
//! that reports all errors of a file at once.

mod diagnostic;
mod document;
mod format;
mod key;
pub mod keys;
mod section_reader;
mod typed_values;
mod value;

pub(crate) use self::{
    diagnostic::nearest,
    document::Document,
    format::{parse_address, parse_delay, parse_network},
    section_reader::SectionReader,
};
pub use self::{
    diagnostic::{Diagnostic, Location},
    document::{Environment, process_environment},
    format::{Format, is_postgres_schema, is_spreadsheet_id},
    key::{ConfigKey, Literal, Presence, Section, ValueType},
};
