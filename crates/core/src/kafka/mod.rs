//! The Kafka clients. This is the only module that uses rdkafka.

pub mod client;
pub mod consumer;
pub mod group_progress;
pub mod producer;
pub mod reader;
pub mod record;
pub mod topic;
pub mod transaction;
