//! A process that `formline top` watches: its recent scrapes, and why the last one failed.

use std::{collections::VecDeque, time::Instant};

use tokio::task::JoinSet;

use super::stage::ProcessMetrics;
use crate::admin::{AdminAddress, AdminClient, AdminError};

/// A process and its scrapes, newest first.
#[derive(Debug)]
pub(super) struct WatchedProcess {
    pub(super) address: AdminAddress,
    scrapes: VecDeque<Scrape>,
    /// Why the last scrape failed.
    pub(super) error: Option<AdminError>,
}

/// The metrics of a process at one time.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    pub(super) at: Instant,
    pub(super) metrics: ProcessMetrics,
}

/// Scrapes that percentiles are computed over. Older ones are dropped.
const WINDOW: usize = 31;

// === impl WatchedProcess ===

impl WatchedProcess {
    pub(super) fn new(address: AdminAddress) -> Self {
        Self {
            address,
            scrapes: VecDeque::with_capacity(WINDOW),
            error: None,
        }
    }

    fn add(&mut self, result: Result<Scrape, AdminError>) {
        match result {
            Ok(scrape) => {
                self.error = None;
                self.scrapes.truncate(WINDOW - 1);
                self.scrapes.push_front(scrape);
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// The latest scrape, even if the process has not responded since.
    pub(super) fn latest(&self) -> Option<&Scrape> {
        self.scrapes.front()
    }

    /// The scrape before the latest.
    pub(super) fn previous(&self) -> Option<&Scrape> {
        self.scrapes.get(1)
    }

    /// The oldest scrape of the window.
    pub(super) fn oldest(&self) -> Option<&Scrape> {
        self.scrapes.back()
    }
}

/// Scrapes all processes concurrently.
pub(super) async fn scrape(processes: &mut [WatchedProcess], client: &AdminClient) {
    let mut scraping = JoinSet::new();
    for (index, process) in processes.iter().enumerate() {
        let (client, address) = (client.clone(), process.address.clone());
        scraping.spawn(async move { (index, Scrape::take(&client, &address).await) });
    }
    for (index, result) in scraping.join_all().await {
        processes[index].add(result);
    }
}

// === impl Scrape ===

impl Scrape {
    async fn take(client: &AdminClient, address: &AdminAddress) -> Result<Self, AdminError> {
        let metrics = client.get(address, "/metrics").await?;
        let at = Instant::now();
        let health = client.get(address, "/readyz").await?;
        let metrics = ProcessMetrics::parse(&metrics, &health).map_err(AdminError::malformed)?;
        Ok(Self { at, metrics })
    }
}
