//! The tab as a transaction log: rows, the checkpoint that says how far they go, and the batch that
//! writes both at once. Nothing in here does I/O.

pub(crate) mod batch;
pub(crate) mod checkpoint;
pub(crate) mod headings;
pub(crate) mod offsets;
pub(crate) mod row;
