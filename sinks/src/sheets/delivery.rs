//! Finds the tab of a sink and carries batches to it, for as long as it takes. What an answer means for a batch is
//! decided in `batch`; this is the sending, asking and waiting around it.

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
    batch::{Batch, Next, Verdict},
    google::{self, Api, Outcome},
    headings,
    kafka::Committed,
    mark::{Entry, Found, Known, Mark},
    metrics::Metrics,
    quota::Quota,
    request,
};
use crate::Error;

/// The way to the tab of a sink.
#[derive(Clone, Debug)]
pub(crate) struct Tab {
    /// Consumer group of the sink.
    pub(crate) sink: String,
    pub(crate) spreadsheet: String,
    /// Where the sink goes on, one after another, when a spreadsheet is full.
    pub(crate) further: Vec<String>,
    pub(crate) title: String,
    pub(crate) api: Api,
    pub(crate) quotas: Arc<Quotas>,
    /// When its headings were read, in milliseconds since 1970; 0 is long ago.
    pub(crate) looked: Arc<AtomicI64>,
    pub(crate) metrics: Metrics,
}

/// The budgets of this process.
#[derive(Debug)]
pub(crate) struct Quotas {
    pub(crate) writes: Quota,
    pub(crate) reads: Quota,
}

/// A batch whose fate is known.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) batch: Batch,
    pub(crate) verdict: Verdict,
    /// A moment at which its mark, if it is written, was the newest.
    pub(crate) known_ms: i64,
}

/// Why the tab was not found this time.
enum Hindrance {
    Passing(String),
    Lasting(Error),
}

pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

// === impl Tab ===

impl Tab {
    /// Finds the newest mark of the sink's tab; creates the tab if the sink never had one. Waits while Google is away.
    pub(crate) async fn find(self, committed: Committed) -> Result<Known, Error> {
        let mut trouble = Trouble::new(&self.sink);
        loop {
            match self.try_find(&committed).await {
                Ok(known) => return Ok(known),
                Err(Hindrance::Lasting(error)) => return Err(error),
                Err(Hindrance::Passing(why)) => trouble.wait(&why).await,
            }
        }
    }

    /// Says, while there is still time, that the spreadsheet is nearly full, unless another one is named.
    pub(crate) fn tell_of_cells(&self, cells: u64) -> bool {
        let is_last = self.further.is_empty();
        if is_last {
            tracing::error!(
                sink = self.sink,
                spreadsheet = self.spreadsheet,
                cells,
                "the spreadsheet is nearly full; add another one to `spreadsheet` in the app, or rows will wait"
            );
        }
        is_last
    }

    /// Sends a batch until it is known what became of it. Waits while Google is away. May be dropped at any time: what
    /// is under way then cannot be applied twice.
    pub(crate) async fn deliver(self, mut batch: Batch) -> Delivered {
        let request = request::of(&batch);
        let mut trouble = Trouble::new(&self.sink);
        let (mut open, mut refusal) = (false, None);
        loop {
            // First the leave to write, which may take a while, then the check that the batch is not too old.
            tokio::time::sleep(batch.pause(now_ms())).await;
            self.quotas.writes.take().await;
            match self.check(&mut batch, open, refusal.as_deref()).await {
                Ok(None) => open = false,
                Ok(Some((verdict, known_ms))) => {
                    return Delivered {
                        batch,
                        verdict,
                        known_ms,
                    };
                }
                Err(why) => {
                    trouble.wait(&why).await;
                    continue;
                }
            }
            let known_ms = now_ms();
            let outcome = self.write(&request).await;
            match outcome {
                Outcome::Done(()) => {
                    return Delivered {
                        batch,
                        verdict: Verdict::Written,
                        known_ms,
                    };
                }
                Outcome::Refused(why) => {
                    (open, refusal) = (true, Some(why));
                    // It may be for a column that is gone.
                    self.looked.store(0, Ordering::Relaxed);
                }
                Outcome::Busy(wait) => self.quotas.writes.pause(trouble.pause(wait)).await,
                Outcome::Denied(why) => trouble.wait(&why).await,
                Outcome::Unknown(why) => {
                    open = true;
                    trouble.wait(&why).await;
                }
            }
        }
    }

    /// What has become of a batch, and when that was known; none if it is to be sent. `open` says that it was, and that
    /// nobody knows what came of it.
    async fn check(
        &self,
        batch: &mut Batch,
        open: bool,
        refusal: Option<&str>,
    ) -> Result<Option<(Verdict, i64)>, String> {
        if let Some(before) = batch.before()
            && self.is_time_to_look()
            && self.look(before).await?.is_some()
        {
            // Whoever then looks for the tab is told why.
            return Ok(Some((Verdict::Gone, now_ms())));
        }
        if !open && batch.is_fresh(now_ms()) {
            return Ok(None);
        }
        let (entries, known_ms) = self.entries().await?;
        match batch.judge(&entries, refusal) {
            Next::End(verdict) => Ok(Some((verdict, known_ms))),
            Next::Resend => {
                batch.confirm(known_ms);
                Ok(None)
            }
        }
    }

    fn is_time_to_look(&self) -> bool {
        let every = i64::try_from(self.api.look_every().as_millis()).unwrap_or(i64::MAX);
        now_ms() - self.looked.load(Ordering::Relaxed) >= every
    }

    /// A heading that is not where it was written, if there is one.
    async fn look(&self, mark: &Mark) -> Result<Option<String>, String> {
        let tabs = self.tabs().await?;
        self.displaced(mark, &tabs).await
    }

    async fn displaced(&self, mark: &Mark, tabs: &[google::Tab]) -> Result<Option<String>, String> {
        let Some(tab) = tabs.iter().find(|tab| tab.id == mark.sheet) else {
            // Whether it is gone is for the marks to say.
            return Ok(None);
        };
        self.quotas.reads.take().await;
        let row = self.api.headings(&self.spreadsheet, &tab.title).await;
        let row = self.value(row).await?;
        self.looked.store(now_ms(), Ordering::Relaxed);
        Ok(headings::displaced(&row, mark).map(str::to_owned))
    }

    /// The tab in another spreadsheet, and those behind it in the list.
    pub(crate) fn moved_to(&self, spreadsheet: &str) -> Result<Self, Error> {
        let mut all = std::iter::once(&self.spreadsheet).chain(&self.further);
        if !all.any(|listed| listed == spreadsheet) {
            return Err(Error::SpreadsheetNotListed {
                tab: self.title.clone(),
                spreadsheet: self.spreadsheet.clone(),
                next: spreadsheet.to_owned(),
            });
        }
        Ok(Self {
            spreadsheet: spreadsheet.to_owned(),
            further: all.cloned().collect(),
            ..self.clone()
        })
    }

    /// Follows the closed marks to the tab that is written now.
    async fn try_find(&self, committed: &Committed) -> Result<Known, Hindrance> {
        let mut tab = self.clone();
        let mut before = Mark {
            sink: self.sink.clone(),
            ..Mark::default()
        };
        loop {
            let known = tab.try_find_here(&before, committed).await?;
            let Some(next) = &known.mark.next else {
                return Ok(known);
            };
            tab = tab.moved_to(next).map_err(Hindrance::Lasting)?;
            before = known.mark;
        }
    }

    /// The newest mark of this spreadsheet. If there is none, the tab that goes on behind `before` is created.
    async fn try_find_here(
        &self,
        before: &Mark,
        committed: &Committed,
    ) -> Result<Known, Hindrance> {
        // Tabs before marks: a tab that another process creates in between is then seen by its mark.
        let tabs = self.tabs().await.map_err(Hindrance::Passing)?;
        let cells = tabs.iter().map(|tab| tab.cells).sum();
        let (entries, read_ms) = self.entries().await.map_err(Hindrance::Passing)?;
        let (spreadsheet, tab) = (self.spreadsheet.clone(), self.title.clone());
        let error = match Found::among(&entries, &self.sink, &spreadsheet, read_ms) {
            Found::Known(known) => {
                committed.check(&known.mark).map_err(Hindrance::Lasting)?;
                let displaced = match &known.mark.next {
                    // What people do to a closed tab is their affair.
                    Some(_) => Ok(None),
                    None => self.displaced(&known.mark, &tabs).await,
                };
                match displaced.map_err(Hindrance::Passing)? {
                    None => return Ok(Known { cells, ..known }),
                    Some(heading) => Error::ColumnsMoved { tab, heading },
                }
            }
            Found::CopyOf(original) => Error::Copy {
                spreadsheet,
                original,
            },
            Found::Nothing if committed.is_beyond(before) => Error::TabGone {
                tab,
                spreadsheet,
                group: self.sink.clone(),
            },
            Found::Nothing if tabs.iter().any(|other| other.title == tab) => {
                Error::TabTaken { tab, spreadsheet }
            }
            Found::Nothing => {
                let known = self.create(before, &entries).await?;
                return Ok(Known { cells, ..known });
            }
        };
        Err(Hindrance::Lasting(error))
    }

    async fn create(&self, before: &Mark, entries: &[Entry]) -> Result<Known, Hindrance> {
        let mark = before.opening(&self.spreadsheet, self.sheet_id(), now_ms());
        let full = || Error::TooManyTabs {
            spreadsheet: self.spreadsheet.clone(),
        };
        let batch = Batch::creating(mark, &self.title, entries);
        let batch = batch.ok_or_else(|| Hindrance::Lasting(full()))?;
        let delivered = self.clone().deliver(batch).await;
        match delivered.verdict {
            Verdict::Written => Ok(delivered.batch.into_known(delivered.known_ms).0),
            Verdict::Refused(why) => Err(Hindrance::Passing(why)),
            Verdict::Overtaken | Verdict::Gone => Err(Hindrance::Passing(
                "another process creates the tab".to_owned(),
            )),
        }
    }

    /// The same for every process, so that of two that create the tab one is refused.
    fn sheet_id(&self) -> i32 {
        let digest = Sha256::digest(format!("{}\n{}", self.sink, self.title));
        let bytes = [digest[0], digest[1], digest[2], digest[3]];
        i32::from_be_bytes(bytes) & i32::MAX
    }

    /// All tabs of the spreadsheet.
    async fn tabs(&self) -> Result<Vec<google::Tab>, String> {
        self.quotas.reads.take().await;
        let tabs = self.api.tabs(&self.spreadsheet).await;
        let tabs = self.value(tabs).await?;
        self.metrics.cells(tabs.iter().map(|tab| tab.cells).sum());
        Ok(tabs)
    }

    /// All marks of the spreadsheet, and a moment since which nothing older can be in the answer.
    async fn entries(&self) -> Result<(Vec<Entry>, i64), String> {
        self.quotas.reads.take().await;
        let read_ms = now_ms();
        let entries = self.api.entries(&self.spreadsheet).await;
        Ok((self.value(entries).await?, read_ms))
    }

    async fn write(
        &self,
        request: &google_sheets4::api::BatchUpdateSpreadsheetRequest,
    ) -> Outcome<()> {
        let outcome = self.api.write(&self.spreadsheet, request.clone()).await;
        self.metrics.request(outcome.label());
        outcome
    }

    /// The answer to a question, which may be asked again.
    async fn value<T>(&self, outcome: Outcome<T>) -> Result<T, String> {
        self.metrics.request(outcome.label());
        match outcome {
            Outcome::Done(value) => Ok(value),
            Outcome::Busy(wait) => {
                self.quotas.reads.pause(wait.unwrap_or_default()).await;
                Err("too many calls".to_owned())
            }
            Outcome::Refused(why) | Outcome::Denied(why) | Outcome::Unknown(why) => Err(why),
        }
    }
}

// === Trouble ===

/// Waits between attempts, and tells the operator once.
struct Trouble<'a> {
    sink: &'a str,
    backoff: Backoff,
    told: bool,
}

impl<'a> Trouble<'a> {
    /// Google asks to wait longer each time, up to 32 or 64 s (guide "Usage limits").
    fn new(sink: &'a str) -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(32));
        Self {
            sink,
            backoff,
            told: false,
        }
    }

    async fn wait(&mut self, why: &str) {
        let delay = self.pause(None);
        if self.told {
            tracing::debug!(
                sink = self.sink,
                why,
                ?delay,
                "google sheets still does not do as asked"
            );
        } else {
            tracing::warn!(
                sink = self.sink,
                why,
                "google sheets does not do as asked; rows wait in kafka"
            );
        }
        self.told = true;
        tokio::time::sleep(delay).await;
    }

    fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.backoff.delay();
        asked.map_or(own, |asked| asked.max(own))
    }
}

impl Drop for Trouble<'_> {
    fn drop(&mut self) {
        if self.told {
            tracing::info!(
                sink = self.sink,
                "google sheets has answered again, or the sink ends"
            );
        }
    }
}
