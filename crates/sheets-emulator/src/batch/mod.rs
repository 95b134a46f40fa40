//! `spreadsheets.batchUpdate`: a list of requests that is applied completely or not at all.

mod apply;
mod cells;
mod context;
mod metadata;
mod rows;
mod sheets;

pub(crate) use self::apply::apply;
