//! A Google Sheets emulator: a durable server that implements the part of the Sheets API v4 that
//! the sheets sink uses, with Google's rules, limits, quotas and error bodies, and with a web page
//! for each sheet.
//!
//! It differs from Google in these points:
//!
//! - An unknown id is an empty spreadsheet with the tab `Sheet1` and not an error, so that a new
//!   installation needs no manual step.
//! - Requests without a token are served, because the emulator listens on a loopback address.
//! - `POST /admin/faults` makes later requests fail.
//! - Formulas are stored but not calculated, and number formats are stored but not applied. Fields
//!   that are not stored (notes, colours of tabs) are rejected and not silently dropped.

mod a1;
mod api;
mod api_error;
mod batch;
mod cell;
mod dimension;
mod emulator;
mod error;
mod fault;
mod json;
mod mask;
mod metadata;
mod named_range;
mod page;
mod quota;
mod server;
mod sheet;
mod spreadsheet;
mod store;
mod table;
mod token;
mod values;

pub use self::{
    emulator::{Emulator, Options},
    error::Error,
    quota::Quota,
};
