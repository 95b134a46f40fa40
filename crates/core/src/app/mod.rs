//! Apps: what their folders declare, checked as a whole before anything starts.
//!
//! Each section of `app.toml` has a file that reads it. `binding` compares a step with its plug-in,
//! `check` compares the sections of all apps with each other.

mod binding;
mod check;
mod definition;
mod email;
mod form;
mod index;
mod load;
mod plugin;
mod postgres;
mod schedule;
pub mod schema;
mod sheets;
mod sink;
mod step;
#[cfg(test)]
mod tests;
mod webhook;

pub use self::{
    definition::App,
    email::Email,
    form::{Form, Key, RateLimit, Sanitize},
    load::load,
    plugin::{PluginFacts, Plugins, UnknownPlugins},
    postgres::Postgres,
    sheets::{Buffer, Sheets},
    sink::{Sink, SinkKind},
    step::{Limits, Step},
    webhook::Webhook,
};
pub use crate::config::{
    Environment, Location, is_postgres_schema, is_spreadsheet_id, process_environment,
};
