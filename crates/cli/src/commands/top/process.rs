//! A process that is watched: what it has told lately, or why it does not answer.

use std::{collections::VecDeque, time::Instant};

use tokio::task::JoinSet;

use super::stage::Told;
use crate::admin::{Address, Away, Visitor};

/// One of the processes.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) address: Address,
    scrapes: VecDeque<Scrape>,
    /// Why the last question was not answered.
    pub(super) away: Option<Away>,
}

/// What it told at one moment.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    pub(super) at: Instant,
    pub(super) told: Told,
}

/// The window of percentiles, in scrapes. At the bound the oldest is forgotten.
const WINDOW: usize = 31;

// === impl Process ===

impl Process {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            scrapes: VecDeque::with_capacity(WINDOW),
            away: None,
        }
    }

    pub(super) fn note(&mut self, answer: Result<Scrape, Away>) {
        match answer {
            Ok(scrape) => {
                self.away = None;
                self.scrapes.truncate(WINDOW - 1);
                self.scrapes.push_front(scrape);
            }
            Err(problem) => self.away = Some(problem),
        }
    }

    /// What it told last, also when it is away since.
    pub(super) fn last(&self) -> Option<&Scrape> {
        self.scrapes.front()
    }

    /// What it told before that.
    pub(super) fn before(&self) -> Option<&Scrape> {
        self.scrapes.get(1)
    }

    /// The beginning of the window.
    pub(super) fn first(&self) -> Option<&Scrape> {
        self.scrapes.back()
    }
}

/// Asks all of them at once.
pub(super) async fn scrape(processes: &mut [Process], visitor: &Visitor) {
    let mut asked = JoinSet::new();
    for (index, process) in processes.iter().enumerate() {
        let (visitor, address) = (visitor.clone(), process.address.clone());
        asked.spawn(async move { (index, Scrape::take(&visitor, &address).await) });
    }
    for (index, answer) in asked.join_all().await {
        processes[index].note(answer);
    }
}

// === impl Scrape ===

impl Scrape {
    async fn take(visitor: &Visitor, address: &Address) -> Result<Self, Away> {
        let metrics = visitor.page(address, "/metrics").await?;
        let at = Instant::now();
        let health = visitor.page(address, "/readyz").await?;
        let told = Told::read(&metrics, &health).map_err(Away::strange)?;
        Ok(Self { at, told })
    }
}
