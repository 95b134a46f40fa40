//! A submission from its body to Kafka: decode, coerce, sanitize, deduplicate by `Idempotency-Key`,
//! send.

pub(crate) mod fields;
pub(crate) mod idempotency;
pub(crate) mod idempotency_key;
pub(crate) mod idempotency_restore;
pub(crate) mod json_pointer;
pub(crate) mod media;
pub(crate) mod response;
pub(crate) mod sanitize;
pub(crate) mod sender;

mod coerce;
mod json_numbers;
