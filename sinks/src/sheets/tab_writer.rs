//! Finds the tab of a sink and delivers batches to it, with retries for as long as it takes.
//! `batch` decides what a response means for a batch; this file sends, reads and waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use formline_core::retry::Backoff;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    api::{
        client::{ApiResponse, SheetsApi, TabProperties},
        quota::Quota,
        request,
    },
    log::{
        batch::{BatchOutcome, BatchStatus, SheetBatch},
        checkpoint::{Checkpoint, FoundCheckpoint, KnownCheckpoint, MetadataEntry},
        headings,
    },
    metrics::SheetsMetrics,
    watermark::CommittedOffsets,
};
use crate::error::Error;

/// Access to the tab of a sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct TabWriter {
    /// Consumer group of the sink.
    pub(crate) sink: String,
    pub(crate) spreadsheet: String,
    /// The spreadsheets in which the sink continues, one after another, when one is full.
    pub(crate) next_spreadsheets: Vec<String>,
    pub(crate) title: String,
    pub(crate) api: SheetsApi,
    pub(crate) quotas: Arc<ApiQuotas>,
    /// When the headings were last read, in milliseconds since 1970; 0 forces a check.
    pub(crate) headings_checked_ms: Arc<AtomicI64>,
    pub(crate) metrics: SheetsMetrics,
}

/// The call quotas of this process.
#[derive(Debug)]
pub(crate) struct ApiQuotas {
    pub(crate) writes: Quota,
    pub(crate) reads: Quota,
}

/// A batch whose outcome is known.
#[derive(Debug)]
pub(crate) struct DeliveredBatch {
    pub(crate) batch: SheetBatch,
    pub(crate) outcome: BatchOutcome,
    /// A time at which its checkpoint, if it was written, was the newest one. In milliseconds since
    /// 1970.
    pub(crate) as_of_ms: i64,
}

/// Why an attempt to find the tab has failed.
enum FindError {
    Retry(String),
    Fatal(Error),
}

pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

// === impl TabWriter ===

impl TabWriter {
    /// Finds the newest checkpoint of the sink's tab, and creates the tab if the sink never had
    /// one. Retries while Google is unavailable.
    pub(crate) async fn find(self, committed: CommittedOffsets) -> Result<KnownCheckpoint, Error> {
        let mut backoff = ApiBackoff::new(&self.sink);
        loop {
            match self.try_find(&committed).await {
                Ok(known) => return Ok(known),
                Err(FindError::Fatal(error)) => return Err(error),
                Err(FindError::Retry(why)) => backoff.wait(&why).await,
            }
        }
    }

    /// Logs that the spreadsheet is nearly full, unless the app lists another one. Returns whether
    /// it has logged.
    pub(crate) fn warn_nearly_full(&self, cells: u64) -> bool {
        let is_last = self.next_spreadsheets.is_empty();
        if is_last {
            tracing::error!(
                sink = self.sink,
                spreadsheet = self.spreadsheet,
                cells,
                "the spreadsheet is nearly full; add another one to `spreadsheet` in app.toml, or rows will have to wait"
            );
        }
        is_last
    }

    /// Sends a batch until its outcome is known, and retries while Google is unavailable. The
    /// future may be dropped at any time: a request in flight cannot be applied twice.
    pub(crate) async fn deliver(self, mut batch: SheetBatch) -> DeliveredBatch {
        let request = request::build(&batch);
        let mut backoff = ApiBackoff::new(&self.sink);
        let (mut is_open, mut rejection) = (false, None);
        loop {
            // The quota comes first, because it may take a while, and only then the check of the
            // batch's age.
            tokio::time::sleep(batch.throttle(now_ms())).await;
            self.quotas.writes.take().await;
            match self.check(&mut batch, is_open, rejection.as_deref()).await {
                Ok(None) => is_open = false,
                Ok(Some((outcome, as_of_ms))) => {
                    return DeliveredBatch {
                        batch,
                        outcome,
                        as_of_ms,
                    };
                }
                Err(why) => {
                    backoff.wait(&why).await;
                    continue;
                }
            }
            let as_of_ms = now_ms();
            match self.write(&request).await {
                ApiResponse::Done(()) => {
                    return DeliveredBatch {
                        batch,
                        outcome: BatchOutcome::Written,
                        as_of_ms,
                    };
                }
                ApiResponse::Rejected(why) => {
                    (is_open, rejection) = (true, Some(why));
                    // The reason may be a column that a user has deleted.
                    self.headings_checked_ms.store(0, Ordering::Relaxed);
                }
                ApiResponse::RateLimited(wait) => {
                    self.quotas.writes.pause(backoff.pause(wait)).await;
                }
                ApiResponse::Denied(why) => backoff.wait(&why).await,
                ApiResponse::Unknown(why) => {
                    is_open = true;
                    backoff.wait(&why).await;
                }
            }
        }
    }

    /// The outcome of a batch and when it was known, or `None` if the batch is to be sent.
    /// `is_open` says that it was sent before and that its outcome is unknown.
    async fn check(
        &self,
        batch: &mut SheetBatch,
        is_open: bool,
        rejection: Option<&str>,
    ) -> Result<Option<(BatchOutcome, i64)>, String> {
        if let Some(base) = batch.base()
            && self.is_heading_check_due()
            && self.check_headings(base).await?.is_some()
        {
            // The search for the tab that follows reports the reason.
            return Ok(Some((BatchOutcome::TabChanged, now_ms())));
        }
        if !is_open && batch.is_fresh(now_ms()) {
            return Ok(None);
        }
        let (entries, as_of_ms) = self.entries().await?;
        match batch.status(&entries, rejection) {
            BatchStatus::Resolved(outcome) => Ok(Some((outcome, as_of_ms))),
            BatchStatus::Resend => {
                batch.confirm(as_of_ms);
                Ok(None)
            }
        }
    }

    fn is_heading_check_due(&self) -> bool {
        let every = i64::try_from(self.api.headings_interval().as_millis()).unwrap_or(i64::MAX);
        now_ms() - self.headings_checked_ms.load(Ordering::Relaxed) >= every
    }

    /// A heading that is not where it was written, if there is one.
    async fn check_headings(&self, checkpoint: &Checkpoint) -> Result<Option<String>, String> {
        let tabs = self.tabs().await?;
        self.displaced_heading(checkpoint, &tabs).await
    }

    async fn displaced_heading(
        &self,
        checkpoint: &Checkpoint,
        tabs: &[TabProperties],
    ) -> Result<Option<String>, String> {
        let Some(tab) = tabs.iter().find(|tab| tab.id == checkpoint.sheet_id) else {
            // The checkpoints tell whether the tab still exists.
            return Ok(None);
        };
        self.quotas.reads.take().await;
        let row = self.api.headings(&self.spreadsheet, &tab.title).await;
        let row = self.value(row).await?;
        self.headings_checked_ms.store(now_ms(), Ordering::Relaxed);
        Ok(headings::displaced(&row, checkpoint).map(str::to_owned))
    }

    /// The same tab in another spreadsheet of the list, followed by the remaining ones.
    pub(crate) fn for_spreadsheet(&self, spreadsheet: &str) -> Result<Self, Error> {
        let mut all = std::iter::once(&self.spreadsheet).chain(&self.next_spreadsheets);
        if !all.any(|listed| listed == spreadsheet) {
            return Err(Error::SpreadsheetNotListed {
                tab: self.title.clone(),
                spreadsheet: self.spreadsheet.clone(),
                next: spreadsheet.to_owned(),
            });
        }
        Ok(Self {
            spreadsheet: spreadsheet.to_owned(),
            next_spreadsheets: all.cloned().collect(),
            ..self.clone()
        })
    }

    /// Follows closed checkpoints to the tab that is written now.
    async fn try_find(&self, committed: &CommittedOffsets) -> Result<KnownCheckpoint, FindError> {
        let mut tab = self.clone();
        let mut previous = Checkpoint {
            sink: self.sink.clone(),
            ..Checkpoint::default()
        };
        loop {
            let known = tab.try_find_here(&previous, committed).await?;
            let Some(next) = &known.checkpoint.continues_in else {
                return Ok(known);
            };
            tab = tab.for_spreadsheet(next).map_err(FindError::Fatal)?;
            previous = known.checkpoint;
        }
    }

    /// The newest checkpoint of this spreadsheet. If there is none, creates the tab that continues
    /// `previous`.
    async fn try_find_here(
        &self,
        previous: &Checkpoint,
        committed: &CommittedOffsets,
    ) -> Result<KnownCheckpoint, FindError> {
        // Tabs are read before checkpoints, so that a tab that another process creates in between
        // is recognised by its checkpoint.
        let tabs = self.tabs().await.map_err(FindError::Retry)?;
        let cells = tabs.iter().map(|tab| tab.cells).sum();
        let (entries, read_ms) = self.entries().await.map_err(FindError::Retry)?;
        let (spreadsheet, tab) = (self.spreadsheet.clone(), self.title.clone());
        let error = match FoundCheckpoint::find(&entries, &self.sink, &spreadsheet, read_ms) {
            FoundCheckpoint::Newest(known) => {
                committed
                    .check_not_ahead(&known.checkpoint)
                    .map_err(FindError::Fatal)?;
                let displaced = match &known.checkpoint.continues_in {
                    // Users may change a closed tab.
                    Some(_) => Ok(None),
                    None => self.displaced_heading(&known.checkpoint, &tabs).await,
                };
                match displaced.map_err(FindError::Retry)? {
                    None => return Ok(KnownCheckpoint { cells, ..known }),
                    Some(heading) => Error::ColumnsMoved { tab, heading },
                }
            }
            FoundCheckpoint::CopyOf(original) => Error::Copy {
                spreadsheet,
                original,
            },
            FoundCheckpoint::Missing if committed.is_beyond(previous) => Error::TabGone {
                tab,
                spreadsheet,
                group: self.sink.clone(),
            },
            FoundCheckpoint::Missing if tabs.iter().any(|other| other.title == tab) => {
                Error::TabTaken { tab, spreadsheet }
            }
            FoundCheckpoint::Missing => {
                let known = self.create(previous, &entries).await?;
                return Ok(KnownCheckpoint { cells, ..known });
            }
        };
        Err(FindError::Fatal(error))
    }

    async fn create(
        &self,
        previous: &Checkpoint,
        entries: &[MetadataEntry],
    ) -> Result<KnownCheckpoint, FindError> {
        let checkpoint = previous.continued_in(&self.spreadsheet, self.sheet_id(), now_ms());
        let full = || Error::TooManyTabs {
            spreadsheet: self.spreadsheet.clone(),
        };
        let batch = SheetBatch::creating_tab(checkpoint, &self.title, entries);
        let batch = batch.ok_or_else(|| FindError::Fatal(full()))?;
        let delivered = self.clone().deliver(batch).await;
        match delivered.outcome {
            BatchOutcome::Written => Ok(delivered.batch.into_known(delivered.as_of_ms).0),
            BatchOutcome::Rejected(why) => Err(FindError::Retry(why)),
            BatchOutcome::Superseded | BatchOutcome::TabChanged => Err(FindError::Retry(
                "another process is creating the tab".to_owned(),
            )),
        }
    }

    /// The same for every process, so that Google rejects one of two that create the tab.
    fn sheet_id(&self) -> i32 {
        let digest = Sha256::digest(format!("{}\n{}", self.sink, self.title));
        let bytes = [digest[0], digest[1], digest[2], digest[3]];
        i32::from_be_bytes(bytes) & i32::MAX
    }

    /// All tabs of the spreadsheet.
    async fn tabs(&self) -> Result<Vec<TabProperties>, String> {
        self.quotas.reads.take().await;
        let tabs = self.api.tabs(&self.spreadsheet).await;
        let tabs = self.value(tabs).await?;
        self.metrics.cells(tabs.iter().map(|tab| tab.cells).sum());
        Ok(tabs)
    }

    /// All checkpoints of the spreadsheet, and a time that is not after the read.
    async fn entries(&self) -> Result<(Vec<MetadataEntry>, i64), String> {
        self.quotas.reads.take().await;
        let read_ms = now_ms();
        let entries = self.api.metadata(&self.spreadsheet).await;
        Ok((self.value(entries).await?, read_ms))
    }

    async fn write(
        &self,
        request: &google_sheets4::api::BatchUpdateSpreadsheetRequest,
    ) -> ApiResponse<()> {
        let response = self.api.write(&self.spreadsheet, request.clone()).await;
        self.metrics.request(response.label());
        response
    }

    /// The result of a read that may be repeated.
    async fn value<T>(&self, response: ApiResponse<T>) -> Result<T, String> {
        self.metrics.request(response.label());
        match response {
            ApiResponse::Done(value) => Ok(value),
            ApiResponse::RateLimited(wait) => {
                self.quotas.reads.pause(wait.unwrap_or_default()).await;
                Err("too many calls".to_owned())
            }
            ApiResponse::Rejected(why) | ApiResponse::Denied(why) | ApiResponse::Unknown(why) => {
                Err(why)
            }
        }
    }
}

// === impl ApiBackoff ===

/// Delays between attempts. The first failure is logged as a warning.
struct ApiBackoff<'a> {
    sink: &'a str,
    backoff: Backoff,
    has_warned: bool,
}

impl<'a> ApiBackoff<'a> {
    /// Google recommends delays that grow to 32 or 64 s (guide "Usage limits").
    fn new(sink: &'a str) -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(32));
        Self {
            sink,
            backoff,
            has_warned: false,
        }
    }

    async fn wait(&mut self, why: &str) {
        let delay = self.pause(None);
        if self.has_warned {
            tracing::debug!(sink = self.sink, why, ?delay, "google sheets still fails");
        } else {
            tracing::warn!(
                sink = self.sink,
                why,
                "google sheets fails; rows wait in kafka until it recovers"
            );
        }
        self.has_warned = true;
        tokio::time::sleep(delay).await;
    }

    fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.backoff.delay();
        asked.map_or(own, |asked| asked.max(own))
    }
}

impl Drop for ApiBackoff<'_> {
    fn drop(&mut self) {
        if self.has_warned {
            tracing::info!(
                sink = self.sink,
                "google sheets has recovered, or the sink has stopped"
            );
        }
    }
}
