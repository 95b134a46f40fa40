//! What Formline is compared with: the least that does the same work, on rdkafka, axum and sqlx alone.

pub mod copy_loop;
pub mod handler;
pub mod store_loop;
