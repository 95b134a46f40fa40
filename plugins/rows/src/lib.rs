//! Turns each submission into a row of cells, with the columns that the step names.
//!
//! Rows are keyed by form, so that one partition, and therefore one owner, holds all rows of a tab.
//! How a spreadsheet interprets the cells is up to the sink.

mod row;
mod rows;

formline_plugin_sdk::register!(rows::Rows);
