//! The Kafka clients. Only this module uses rdkafka.

pub mod client;
pub mod consumer;
pub mod group_progress;
mod opaque;
pub mod producer;
pub mod reader;
pub mod record;
pub mod topic;
pub mod transaction;
