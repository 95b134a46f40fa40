//! The end of a chain: when each submission arrives there, and how often.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use formline_core::{
    Client, EventId, Record,
    event::header,
    reader::{From, Reader},
};

/// Reads the committed records of a topic on a thread of its own and notes when each submission was first seen.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<HashMap<EventId, Instant>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Different submissions seen.
    seen: AtomicUsize,
}

/// After so long without a new arrival, the rest is lost.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

// === impl Watch ===

impl Watch {
    /// Begins at the present end of the topic. Blocks the thread while it asks Kafka.
    pub(crate) fn begin(client: &Client, topic: &str) -> Result<Self> {
        let mut reader = Reader::open(client, topic, &[], From::End)?;
        // The end is a fact only once a fetch has reached it: records sent from now on lie behind it.
        let patience = Instant::now() + PATIENCE;
        reader.read_to_end(|| Instant::now() < patience, |_| ())?;
        ensure!(
            reader.is_at_end(),
            "the end of {topic} was not found within {PATIENCE:?}"
        );
        let shared = Arc::<Shared>::default();
        let thread = thread::Builder::new()
            .name("destination".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.watch(&mut reader)
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until so many different submissions have arrived. Fewer stay fewer when none came for a minute; `alive`
    /// may end the wait before.
    pub(crate) async fn wait_for(
        &self,
        count: usize,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let (mut seen, mut patience) = (0, Instant::now() + PATIENCE);
        while seen < count && Instant::now() < patience {
            alive()?;
            tokio::time::sleep(PAUSE).await;
            let now = self.shared.seen.load(Ordering::Relaxed);
            if now > seen {
                (seen, patience) = (now, Instant::now() + PATIENCE);
            }
        }
        Ok(())
    }

    /// How many different submissions have arrived.
    pub(crate) fn seen(&self) -> usize {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// When each submission arrived.
    pub(crate) fn end(mut self) -> Result<HashMap<EventId, Instant>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only the end takes it");
        thread
            .join()
            .ok()
            .context("the thread that watches the destination panicked")?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn watch(&self, reader: &mut Reader) -> Result<HashMap<EventId, Instant>> {
        let mut arrivals = HashMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(record) = reader.next(Duration::from_millis(100))? {
                arrivals
                    .entry(submission(&record)?)
                    .or_insert_with(Instant::now);
                self.seen.store(arrivals.len(), Ordering::Relaxed);
            }
        }
        Ok(arrivals)
    }
}

/// How often each submission lies in the topic, from a time (milliseconds since 1970) to its end. Call it when nothing
/// is written any more. Blocks the thread.
pub(crate) fn count(client: &Client, topic: &str, since_ms: i64) -> Result<HashMap<EventId, u32>> {
    let mut reader = Reader::open(client, topic, &[], From::Time(since_ms))?;
    let (mut counts, mut foreign) = (HashMap::new(), None);
    let patience = Instant::now() + PATIENCE;
    reader.read_to_end(
        || Instant::now() < patience,
        |record| match submission(&record) {
            Ok(id) => *counts.entry(id).or_default() += 1,
            Err(error) => foreign = Some(error),
        },
    )?;
    ensure!(
        reader.is_at_end(),
        "{topic} was not read to its end within {PATIENCE:?}"
    );
    foreign.map_or(Ok(counts), Err)
}

/// The submission that a record stems from: a copy is the submission itself.
fn submission(record: &Record) -> Result<EventId> {
    let id = record
        .text_header(header::ORIGIN)
        .or_else(|| record.text_header(header::ID));
    let id = id.and_then(|id| id.parse().ok());
    id.with_context(|| {
        format!("{record:?} names no submission; only the bench may write to that topic")
    })
}
