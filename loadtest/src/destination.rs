//! The last topic of a chain: when each submission arrives there, and how often.

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
    kafka::reader::{Reader, StartOffset},
};

/// Reads the committed records of a topic on a separate thread, and records when each submission
/// was first seen.
#[derive(Debug)]
pub(crate) struct ArrivalWatcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<HashMap<EventId, Instant>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Number of different submissions that were seen.
    seen: AtomicUsize,
}

/// After this time without an arrival, the missing submissions count as lost.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often the number of arrivals is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

// === impl ArrivalWatcher ===

impl ArrivalWatcher {
    /// Starts at the current end of the topic. Blocks the thread on requests to Kafka.
    pub(crate) fn start(client: &Client, topic: &str) -> Result<Self> {
        let mut reader = Reader::open(client, topic, &[], StartOffset::End)?;
        // The position is only fixed once a fetch has reached the end; records that are sent from
        // now on are after it.
        let deadline = Instant::now() + TIMEOUT;
        reader.read_to_end(|| Instant::now() < deadline, |_| ())?;
        ensure!(
            reader.is_at_end(),
            "failed to read to the end of {topic} within {TIMEOUT:?}"
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

    /// Waits until `count` different submissions have arrived, or until none has arrived for
    /// `TIMEOUT`. Fails if `check_alive` fails.
    pub(crate) async fn wait_for(
        &self,
        count: usize,
        mut check_alive: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let (mut seen, mut deadline) = (0, Instant::now() + TIMEOUT);
        while seen < count && Instant::now() < deadline {
            check_alive()?;
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.shared.seen.load(Ordering::Relaxed);
            if now > seen {
                (seen, deadline) = (now, Instant::now() + TIMEOUT);
            }
        }
        Ok(())
    }

    /// The number of different submissions that have arrived.
    pub(crate) fn seen(&self) -> usize {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// Stops, and returns when each submission arrived.
    pub(crate) fn finish(mut self) -> Result<HashMap<EventId, Instant>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only this function takes it");
        thread
            .join()
            .ok()
            .context("the thread that reads the destination panicked")?
    }
}

impl Drop for ArrivalWatcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

// === impl Shared ===

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

/// How often each submission is in the topic, from a time (milliseconds since 1970) to its end.
/// Call it when nothing writes to the topic any more. Blocks the thread.
pub(crate) fn count(client: &Client, topic: &str, since_ms: i64) -> Result<HashMap<EventId, u32>> {
    let mut reader = Reader::open(client, topic, &[], StartOffset::Timestamp(since_ms))?;
    let (mut counts, mut foreign) = (HashMap::new(), None);
    let deadline = Instant::now() + TIMEOUT;
    reader.read_to_end(
        || Instant::now() < deadline,
        |record| match submission(&record) {
            Ok(id) => *counts.entry(id).or_default() += 1,
            Err(error) => foreign = Some(error),
        },
    )?;
    ensure!(
        reader.is_at_end(),
        "failed to read {topic} to its end within {TIMEOUT:?}"
    );
    foreign.map_or(Ok(counts), Err)
}

/// The submission from which a record originates; a record without an origin is the submission
/// itself.
fn submission(record: &Record) -> Result<EventId> {
    let id = record
        .text_header(header::ORIGIN)
        .or_else(|| record.text_header(header::ID));
    let id = id.and_then(|id| id.parse().ok());
    id.with_context(|| {
        format!("{record:?} has no submission id; only the bench may write to this topic")
    })
}
