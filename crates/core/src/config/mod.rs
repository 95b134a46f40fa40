//! How the TOML files of an operator are read: `app.toml` and `formline.toml`.

mod diagnostic;
mod document;
mod section_reader;

pub use self::{
    diagnostic::{Diagnostic, Location, nearest},
    document::{Environment, process_environment},
};
pub(crate) use self::{document::Document, section_reader::SectionReader};
