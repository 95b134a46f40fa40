//! The figures of a run: as text for users, as JSON for programs, and which of them violate the
//! guarantee.

mod aim;
mod chain;
mod figures;
mod host;
mod ingest;
mod measurement;
mod postgres;
mod saturated;
mod sheets;
mod summary;

pub(super) use self::{
    chain::{ChainReport, ChainRow},
    figures::{CpuCost, float, median, per_second},
    host::{HostReport, HostRow},
    ingest::{IngestReport, IngestRow},
    measurement::Measurement,
    postgres::PostgresReport,
    saturated::SaturatedReport,
    sheets::SheetsReport,
    summary::Report,
};
