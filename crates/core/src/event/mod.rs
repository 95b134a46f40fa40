//! Events: the CloudEvent that a record carries, its id, its provenance, and deduplication.

mod cloud_event;
pub mod dedup;
pub mod header;
pub mod id;
pub mod provenance;

pub use self::cloud_event::{
    Submission, form, format_time, identity, is_for, output_headers, source, time,
};
