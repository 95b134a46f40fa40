//! A form as a plain HTML page: no scripts, no external resources, usable with a keyboard and a
//! screen reader.

mod form_page;
mod input;
mod message;
mod pattern;

pub(crate) use self::form_page::FormPage;
