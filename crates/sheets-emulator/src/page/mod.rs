//! The web pages: a list of all spreadsheets, and a page for each tab that shows its newest rows
//! and updates itself.

mod format;
mod handlers;
mod index;
mod tab;

pub(crate) use self::handlers::routes;
