//! What is written when, without I/O.

pub(crate) mod pending;
pub(crate) mod planner;
