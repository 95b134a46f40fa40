//! The foundation of every stage: apps, settings, events, Kafka clients, shutdown and telemetry.
//!
//! This is the only crate that uses rdkafka. It does not depend on ingest, processors or sinks.

pub mod app;
pub mod config;
pub mod dead_letter;
pub mod event;
pub mod kafka;
pub mod retry;
pub mod secret;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use self::{
    app::App,
    config::Diagnostic,
    event::id::EventId,
    kafka::{client::Client, consumer::Consumer, producer::Producer, record::Record},
    secret::Secret,
    settings::Settings,
    shutdown::Shutdown,
    telemetry::Telemetry,
};
