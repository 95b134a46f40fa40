//! `formline plugin`, as the author of a plug-in uses it.

mod author_folder;
mod build;
mod cases;
mod list;
mod new;
