//! The bare counterparts: minimal programs that do the same work as Formline, on rdkafka, axum and
//! sqlx only.

pub mod copy_loop;
pub mod handler;
pub mod store_loop;
