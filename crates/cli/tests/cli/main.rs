//! Integration tests of the command line, in one binary so that it is linked once. They run the
//! real program against real servers. Each test has its own app, folders and ports, so tests run
//! side by side.
#![allow(clippy::unwrap_used, clippy::panic)]

mod check;
mod dlq;
mod pipeline;
mod plugin;
mod sinks;
mod support;
mod tap;
mod trace;
mod usage;
