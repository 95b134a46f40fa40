//! A worker: one thread that reads partitions of a step, lets the plug-in process them, and
//! publishes the results.

mod circuit_breaker;
mod context;
mod input;
mod migrate;
mod partition_task;
mod poison_isolation;
mod publish;
mod restore;
mod run;
mod session;

pub(crate) use self::{context::Worker, run::run};
