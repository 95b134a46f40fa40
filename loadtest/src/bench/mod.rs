//! `bench`: measures Formline and its bare counterparts in turn, and prints a report.

mod chain;
mod environment;
mod follow;
mod guest;
mod host;
mod ingest;
mod load;
mod postgres;
mod prefill;
mod report;
mod run;
mod saturated;
mod sheets;

pub use self::run::run;
