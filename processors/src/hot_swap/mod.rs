//! Changing plug-ins without a restart: the folder of plug-in files, trials of new versions, and
//! the return to the former one.

mod admission;
mod catalog;
mod decision;
mod plugin_file;
mod score;
mod slot;
mod trial;
mod watcher;

pub use self::catalog::{Catalog, CatalogEntry};
pub(crate) use self::{
    admission::check,
    plugin_file::read,
    score::{MIN_FAILURES, Score, SharedScore},
    slot::Slot,
    watcher::Watcher,
};
