//! The session of a sink that delivers records one by one: works on the first records of each
//! partition that are due.

use std::{
    collections::BTreeMap,
    future::{pending, ready},
    sync::Arc,
    time::Duration,
};

use formline_core::{Consumer, Record, kafka::record::Partition, retry::Backoff};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{Attempt, DeliveryStatus},
    entry::JournalEntry,
    handler::RecordHandler,
    history::History,
    partition_queue::PartitionQueue,
};
use crate::{
    engine::{
        context::{SinkContext, Work},
        membership::{self, Assignment, Destination, Leftover, Offsets, Opened, Progress, Session},
    },
    error::Error,
};

/// A handler of records as the destination of a sink.
struct HandlerDestination {
    context: SinkContext,
    handler: Arc<dyn RecordHandler>,
}

/// What must be known before records are delivered.
struct JournalPosition {
    history: History,
    committed: BTreeMap<Partition, i64>,
}

/// The records of one assignment.
struct PerRecordSession {
    handler: Arc<dyn RecordHandler>,
    queues: BTreeMap<Partition, PartitionQueue>,
    history: History,
    deliveries: FuturesUnordered<BoxFuture<'static, Delivered>>,
    /// Ends the waiting of deliveries when the session ends.
    stop: CancellationToken,
}

/// The record of a delivery, and how it has ended.
type Delivered = (Partition, i64, Result<DeliveryStatus, Error>);

/// How long deliveries in flight are waited for when the sink stops. Those that are cut off are
/// made again.
const GRACE: Duration = Duration::from_secs(10);

/// The work of a sink that delivers records with this handler.
pub(crate) fn work(context: &SinkContext, handler: impl RecordHandler) -> Work {
    let destination = HandlerDestination {
        context: context.clone(),
        handler: Arc::new(handler),
    };
    membership::work(context, destination)
}

// === impl HandlerDestination ===

impl Destination for HandlerDestination {
    type Position = JournalPosition;

    fn locating(&self) -> &'static str {
        "reading its journal"
    }

    /// Reads the journal, and retries while Kafka is unavailable.
    fn locate(
        &self,
        consumer: &mut Consumer,
        partitions: &[Partition],
    ) -> Result<BoxFuture<'static, Result<JournalPosition, Error>>, Error> {
        let committed: BTreeMap<Partition, i64> = consumer.committed()?.into_iter().collect();
        let next = partitions
            .iter()
            .map(|partition| (partition.clone(), committed.get(partition).copied()));
        let next: Vec<_> = next.collect();
        let journal = self.handler.tracker().journal.clone();
        let (memory, health) = (self.handler.memory(), self.context.health.clone());
        let sink = self.context.sink.group();
        Ok(Box::pin(async move {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            loop {
                match journal.read(next.clone(), memory).await {
                    Ok(history) => return Ok(JournalPosition { history, committed }),
                    Err(Error::Client(error)) => {
                        tracing::warn!(%error, sink, "the journal cannot be read yet; retrying");
                        health.waiting(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        }))
    }

    fn open(&self, position: JournalPosition, assignment: &Assignment) -> Result<Opened, Error> {
        let JournalPosition {
            mut history,
            committed,
        } = position;
        self.handler.recall(&history.take_recent());
        // Records that arrived before the session are read again.
        let starts: Offsets = (assignment.first.iter())
            .map(|(partition, first)| (partition.clone(), *first))
            .collect();
        let queues = assignment.partitions.iter().map(|partition| {
            let committed = committed.get(partition).copied().unwrap_or_default();
            let is_sought = assignment.first.contains_key(partition);
            let queue = PartitionQueue::new(committed, is_sought);
            (partition.clone(), queue)
        });
        let (sink, partitions) = (self.context.sink.group(), assignment.partitions.len());
        tracing::info!(sink, partitions, "delivering");
        let session = PerRecordSession {
            handler: Arc::clone(&self.handler),
            queues: queues.collect(),
            history,
            deliveries: FuturesUnordered::new(),
            stop: CancellationToken::new(),
        };
        Ok(Opened {
            session: Box::new(session),
            starts,
        })
    }
}

// === impl PerRecordSession ===

impl PerRecordSession {
    /// The offset up to which the partition of a delivery is done, if it has advanced.
    fn finished(
        &mut self,
        (partition, offset, status): Delivered,
    ) -> Result<Option<(Partition, i64)>, Error> {
        if status? == DeliveryStatus::Stopped {
            return Ok(None);
        }
        let queue = self.queues.get_mut(&partition);
        let next = queue.and_then(|queue| queue.finish(offset));
        Ok(next.map(|next| (partition, next)))
    }
}

impl Session for PerRecordSession {
    fn is_full(&self, partition: &Partition) -> bool {
        let queue = self.queues.get(partition);
        queue.is_some_and(PartitionQueue::is_full)
    }

    fn buffered(&self) -> usize {
        self.queues.values().map(PartitionQueue::len).sum()
    }

    fn take(&mut self, record: Record) {
        if let Some(queue) = self.queues.get_mut(&record.partition) {
            queue.push(Attempt::of(record));
        }
    }

    fn advance<'a>(
        &'a mut self,
        positions: &'a [(Partition, i64)],
    ) -> BoxFuture<'a, Result<Offsets, Error>> {
        let (limit, now) = (self.handler.max_in_flight(), Timestamp::now());
        for queue in self.queues.values_mut() {
            while let Some(attempt) = queue.begin(limit, now) {
                let last = self.history.last_entry(&attempt);
                let handler = Arc::clone(&self.handler);
                let delivery = deliver(handler, attempt, last, self.stop.clone());
                self.deliveries.push(Box::pin(delivery));
            }
        }
        let skipped = positions.iter().filter_map(|(partition, position)| {
            let next = self.queues.get_mut(partition)?.skip_to(*position)?;
            Some((partition.clone(), next))
        });
        Box::pin(ready(Ok(skipped.collect())))
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Progress, Error>> {
        Box::pin(async move {
            let Some(delivered) = self.deliveries.next().await else {
                return pending().await;
            };
            let next = self.finished(delivered)?;
            Ok(next.map_or(Progress::Unchanged, |next| Progress::Advanced(vec![next])))
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Offsets> {
        self.stop.cancel();
        Box::pin(async move {
            let until = Instant::now() + GRACE;
            let mut offsets = BTreeMap::new();
            while let Ok(Some(delivered)) = timeout_at(until, self.deliveries.next()).await {
                offsets.extend(self.finished(delivered).ok().flatten());
            }
            offsets.into_iter().collect()
        })
    }

    /// Deliveries in flight have some time to end, because the outcome of one that is cut off is
    /// unknown. If the next owner is another process, it may make them once more.
    fn revoke(self: Box<Self>) -> Vec<Leftover> {
        self.stop.cancel();
        let leftover = |delivery: BoxFuture<'static, Delivered>| -> Leftover {
            Box::pin(async move {
                let (_, _, status) = delivery.await;
                status.map(drop)
            })
        };
        self.deliveries.into_iter().map(leftover).collect()
    }
}

async fn deliver(
    handler: Arc<dyn RecordHandler>,
    attempt: Attempt,
    last: Option<JournalEntry>,
    stop: CancellationToken,
) -> Delivered {
    let status = handler.deliver(&attempt, last.as_ref(), &stop).await;
    (attempt.partition, attempt.offset, status)
}
