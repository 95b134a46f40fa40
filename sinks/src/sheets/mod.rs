//! Rows to Google Sheets: exactly one row per submission, in order of submission, whatever crashes.
//!
//! The sheet is the transaction log: rows and the mark of how far they go are one atomic write (`mark`, `batch`).
//! Kafka is the source: after a crash the mark says where to read on. `plan` decides what is written when, `delivery`
//! settles writes whose outcome is unknown, `kafka` knows when no earlier submission can come any more.
//!
//! Rows are keyed by form, so a tab has one owner. A tab that takes several forms may get several, one per process: then
//! each row still stands once, but what one owner writes after a later row of another is flagged late.

mod batch;
mod buffer;
mod delivery;
mod google;
mod kafka;
mod mark;
mod metrics;
mod offsets;
mod outcomes;
mod plan;
mod quota;
mod request;
mod row;
mod session;
#[cfg(test)]
mod simulation;
mod worker;

use std::sync::Arc;

use formline_core::{
    Telemetry,
    app::{Sheets, is_spreadsheet_id},
};

pub use self::google::Google;
pub(crate) use self::outcomes::outcomes;
use self::{
    delivery::{Quotas, Tab},
    google::Api,
    kafka::Upstream,
    quota::Quota,
    worker::Worker,
};
use crate::{
    Error,
    run::{Common, Work},
};

/// The work of each sheets sink.
pub(crate) async fn open(
    google: &Google,
    calls_per_minute: u32,
    telemetry: &Telemetry,
    sinks: Vec<(Common, Sheets)>,
) -> Result<Vec<(Common, Work)>, Error> {
    let api = Api::open(google).await?;
    let redis = sinks.first().and_then(|(common, _)| common.redis.clone());
    let quota = |kind| match redis.clone() {
        Some(redis) => Quota::shared(calls_per_minute, redis, api.account(), kind),
        None => Quota::own(calls_per_minute),
    };
    let quotas = Arc::new(Quotas {
        writes: quota("writes"),
        reads: quota("reads"),
    });
    let metrics = metrics::All::register(telemetry);
    let mut works = Vec::with_capacity(sinks.len());
    for (common, settings) in sinks {
        check_spreadsheet(&settings.spreadsheet)?;
        settings
            .further
            .iter()
            .try_for_each(|id| check_spreadsheet(id))?;
        let tab = Tab {
            sink: common.sink.group(),
            spreadsheet: settings.spreadsheet.clone(),
            further: settings.further.clone(),
            title: settings.tab.clone(),
            api: api.clone(),
            quotas: Arc::clone(&quotas),
            metrics: metrics.of(common.parking.metrics.clone()),
        };
        let worker = Worker {
            upstream: Upstream::open(&common.client, &common.app, &common.sink)?,
            settings,
            tab,
            common: common.clone(),
        };
        let work: Work = Box::pin(worker.run());
        works.push((common, work));
    }
    Ok(works)
}

/// The crate google-sheets4 puts the id into the address as it is, and not every app comes from a checked file.
fn check_spreadsheet(id: &str) -> Result<(), Error> {
    if is_spreadsheet_id(id) {
        return Ok(());
    }
    Err(Error::SpreadsheetId(id.to_owned()))
}
