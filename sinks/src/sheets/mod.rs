//! Rows to Google Sheets: exactly one row per submission, in order of submission, whatever crashes.
//!
//! The sheet is the transaction log: rows and the mark of how far they go are one atomic write (`mark`, `batch`).
//! Kafka is the source: after a crash the mark says where to read on. `plan` decides what is written when, `delivery`
//! settles writes whose outcome is unknown, `kafka` knows when no earlier submission can come any more.
//!
//! Rows are keyed by form, so a tab has one owner. A tab that takes several forms may get several, one per process: then
//! each row still stands once, but what one owner writes after a later row of another is flagged late.

mod account;
mod batch;
mod buffer;
mod delivery;
mod flusher;
mod following;
mod google;
mod headings;
mod in_memory;
mod kafka;
mod mark;
mod metrics;
mod offsets;
mod outcomes;
mod payload;
mod plan;
mod puts;
mod quota;
mod request;
mod row;
mod session;
#[cfg(test)]
mod simulation;
mod through_redis;
mod waiting;
mod worker;

use std::{sync::Arc, time::Duration};

use formline_core::{
    Telemetry,
    app::{Buffer, Sheets, is_spreadsheet_id},
    retry::Backoff,
};
use futures::future::join_all;

pub use self::google::Google;
pub(crate) use self::outcomes::outcomes;
use self::{
    delivery::{Quotas, Tab},
    flusher::{Flush, Flusher},
    google::Api,
    kafka::Upstream,
    quota::Quota,
    waiting::Waiting,
    worker::Worker,
};
use crate::{
    Error,
    redis::Failure,
    run::{Common, Flushed, Work},
};

/// How long a flush may go on after the shutdown has begun: for the write in hand.
const GRACE: Duration = Duration::from_secs(5);

/// The work of each sheets sink.
pub(crate) async fn open(
    google: &Google,
    calls_per_minute: u32,
    telemetry: &Telemetry,
    sinks: Vec<(Common, Sheets)>,
) -> Result<Vec<(Common, Work)>, Error> {
    let mut works = Vec::with_capacity(sinks.len());
    for (common, settings, tab, waiting) in
        prepare(google, calls_per_minute, telemetry, sinks).await?
    {
        let worker = Worker {
            upstream: Upstream::open(&common.client, &common.app, &common.sink)?,
            waiting,
            settings,
            tab,
            common: common.clone(),
        };
        let work: Work = Box::pin(worker.run());
        works.push((common, work));
    }
    Ok(works)
}

/// Writes what waits in Redis and is due, for at most so long, and says what became of it for each sink.
pub(crate) async fn flush(
    google: &Google,
    calls_per_minute: u32,
    telemetry: &Telemetry,
    sinks: Vec<(Common, Sheets)>,
    patience: Duration,
) -> Result<Vec<Flushed>, Error> {
    let mut works = Vec::with_capacity(sinks.len());
    for (common, settings, tab, waiting) in
        prepare(google, calls_per_minute, telemetry, sinks).await?
    {
        let waiting = waiting.ok_or_else(|| Error::NothingToFlush(common.sink.name.clone()))?;
        let upstream = Upstream::open(&common.client, &common.app, &common.sink)?;
        let flusher = Flusher::new(tab, upstream, waiting, common.parking.clone(), &settings);
        works.push(flush_within(flusher, common, patience));
    }
    // Side by side, so that one whose spreadsheet does not answer holds nobody up.
    Ok(join_all(works).await)
}

/// What was written is in the sheet, however it ends; a write that is dropped is settled by the next flush.
async fn flush_within(mut flusher: Flusher, common: Common, patience: Duration) -> Flushed {
    let mut rows = 0;
    let shutdown = common.shutdown.clone();
    let ended = tokio::select! {
        ended = flush_all(&mut flusher, &common, &mut rows) => ended,
        () = tokio::time::sleep(patience) => Err(Error::Unflushed(patience)),
        () = async { shutdown.begun().await; tokio::time::sleep(GRACE).await } => Ok(()),
    };
    Flushed {
        rows,
        trouble: ended.err(),
    }
}

async fn flush_all(
    flusher: &mut Flusher,
    common: &Common,
    written: &mut usize,
) -> Result<(), Error> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    while !common.shutdown.has_begun() {
        match flusher.flush().await? {
            Flush::Written(0) | Flush::Shutdown => break,
            Flush::Written(rows) => *written += rows,
            Flush::Refused(why) => return Err(Error::NoRowTaken(why)),
            Flush::Away(denied @ Failure::Denied(_)) => {
                return Err(Error::Redis(denied.to_string()));
            }
            Flush::Away(error) => {
                tracing::warn!(%error, sink = common.sink.group(), "waiting for redis");
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
    Ok(())
}

type Prepared = (Common, Sheets, Tab, Option<Waiting>);

async fn prepare(
    google: &Google,
    calls_per_minute: u32,
    telemetry: &Telemetry,
    sinks: Vec<(Common, Sheets)>,
) -> Result<Vec<Prepared>, Error> {
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
    let mut prepared = Vec::with_capacity(sinks.len());
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
            looked: Arc::default(),
            metrics: metrics.of(common.parking.metrics.clone()),
        };
        let waiting = waiting(&common, &settings);
        prepared.push((common, settings, tab, waiting));
    }
    Ok(prepared)
}

fn waiting(common: &Common, settings: &Sheets) -> Option<Waiting> {
    let Buffer::Redis { rows, .. } = settings.buffer else {
        return None;
    };
    let redis = common.redis.clone();
    redis.map(|redis| Waiting::new(redis, &common.sink.group(), &settings.spreadsheet, rows))
}

/// The crate google-sheets4 puts the id into the address as it is, and not every app comes from a checked file.
fn check_spreadsheet(id: &str) -> Result<(), Error> {
    if is_spreadsheet_id(id) {
        return Ok(());
    }
    Err(Error::SpreadsheetId(id.to_owned()))
}
