//! What Formline is compared with: the least that does the same work, on rdkafka and axum alone.

pub mod copy_loop;
pub mod handler;
