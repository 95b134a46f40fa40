//! What every stage stands on: the app definition, the record, the Kafka clients, shutdown and telemetry.
//!
//! It is the only crate that knows rdkafka, and it knows nothing of HTTP forms, plug-ins or sheets.

pub mod app;
pub mod cause;
pub mod client;
pub mod consumer;
pub mod dead_letter;
pub mod duplicates;
pub mod event;
pub mod id;
pub mod ledger;
pub mod letter;
pub mod mistake;
pub mod producer;
pub mod progress;
pub mod reader;
pub mod record;
pub mod retry;
pub mod schema;
pub mod settings;
pub mod settlement;
pub mod shutdown;
pub mod telemetry;
pub mod topic;
pub mod transaction;

pub use self::{
    app::App, client::Client, consumer::Consumer, id::EventId, mistake::Mistake,
    producer::Producer, record::Record, settings::Settings, shutdown::Shutdown,
    telemetry::Telemetry,
};
