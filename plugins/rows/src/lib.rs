//! Turns each submission into a row of cells, in the columns that the step names.
//!
//! Rows are keyed by form, so that one partition, and so one owner, holds all rows of a tab. It
//! leaves out what a spreadsheet makes of the cells: that is the sink's business.

mod row;
mod rows;

formline_plugin_sdk::register!(rows::Rows);
