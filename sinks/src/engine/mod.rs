//! What sinks of every kind are built on: their context, the membership in their consumer group,
//! the topics that they write, and the trait that describes a kind. Nothing in here knows a
//! particular kind.

pub(crate) mod context;
pub(crate) mod dead_letter_queue;
pub(crate) mod kind;
pub(crate) mod membership;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod rejoin;
pub(crate) mod retrying_producer;
