//! Rows in PostgreSQL, each exactly once, whatever crashes.
//!
//! The database is the source of truth: the offset up to which a partition is stored moves in the
//! transaction that stores its rows (`database`), and reading begins at that offset (`sink`). So a
//! commit whose outcome is unknown needs no special care: the offsets are read again. Offsets are
//! committed to Kafka afterwards, for monitoring.
//!
//! If two processes both believe that they own a partition, they cannot both move its offset: the
//! second finds another offset than it expects, stores nothing and reads the offsets again. A row
//! that PostgreSQL rejects is found by bisection and dead-lettered (`delivery`) before the offset
//! passes it.

mod audit;
mod batch;
mod database;
mod delivery;
mod failure;
mod kind;
mod metrics;
mod row;
mod session;
mod sink;

pub(crate) use self::kind::{open, register_metrics};
