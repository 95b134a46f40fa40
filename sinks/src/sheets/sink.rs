//! One sheets sink: its settings and connections, and how it takes part in its consumer group.

use std::sync::Arc;

use formline_core::{
    Consumer,
    app::{Buffer, Sheets},
    kafka::record::Partition,
};
use futures::future::BoxFuture;

use super::{
    api::{
        client::{SheetsApi, check_spreadsheet_id},
        quota::Quota,
    },
    buffer::{memory_session::MemorySession, redis_queue::RedisQueue, redis_session::RedisSession},
    log::{checkpoint::KnownCheckpoint, offsets::DoneOffsets},
    metrics::SheetsMetricFamilies,
    tab_writer::{ApiQuotas, TabWriter},
    watermark::WatermarkTracker,
};
use crate::{
    engine::{
        context::{SinkContext, Work},
        membership::{self, Assignment, Destination, Opened, Session},
        options::Options,
    },
    error::Error,
};

/// A sink that is ready to run or to be flushed.
pub(super) struct SheetsSink {
    pub(super) context: SinkContext,
    pub(super) settings: Sheets,
    pub(super) tab: TabWriter,
    pub(super) tracker: WatermarkTracker,
    /// Where its rows wait, if that is Redis.
    pub(super) queue: Option<RedisQueue>,
}

/// The work of each sheets sink.
pub(crate) async fn open(
    options: &Options,
    sinks: Vec<(SinkContext, Sheets)>,
) -> Result<Vec<(SinkContext, Work)>, Error> {
    let sinks = prepare(options, sinks).await?.into_iter();
    let works = sinks.map(|sink| {
        let context = sink.context.clone();
        let work = membership::work(&context, sink);
        (context, work)
    });
    Ok(works.collect())
}

/// Opens what the sinks share, and checks their settings.
pub(super) async fn prepare(
    options: &Options,
    sinks: Vec<(SinkContext, Sheets)>,
) -> Result<Vec<SheetsSink>, Error> {
    let google = options.google.as_ref().ok_or(Error::NoGoogle)?;
    let api = SheetsApi::open(google).await?;
    let redis = sinks.first().and_then(|(context, _)| context.redis.clone());
    let calls = options.google_calls_per_minute;
    let quota = |kind| match redis.clone() {
        Some(redis) => Quota::shared(calls, redis, api.account(), kind),
        None => Quota::own(calls),
    };
    let quotas = Arc::new(ApiQuotas {
        writes: quota("writes"),
        reads: quota("reads"),
    });
    let metrics = SheetsMetricFamilies::register(&options.telemetry);
    let mut prepared = Vec::with_capacity(sinks.len());
    for (context, settings) in sinks {
        check_spreadsheet_id(&settings.spreadsheet)?;
        settings
            .further
            .iter()
            .try_for_each(|id| check_spreadsheet_id(id))?;
        let tab = TabWriter {
            sink: context.sink.group(),
            spreadsheet: settings.spreadsheet.clone(),
            next_spreadsheets: settings.further.clone(),
            title: settings.tab.clone(),
            api: api.clone(),
            quotas: Arc::clone(&quotas),
            headings_checked_ms: Arc::default(),
            metrics: metrics.of(context.dead_letters.metrics.clone()),
        };
        prepared.push(SheetsSink {
            tracker: WatermarkTracker::open(&context.client, &context.app, &context.sink)?,
            queue: queue(&context, &settings),
            context,
            settings,
            tab,
        });
    }
    Ok(prepared)
}

fn queue(context: &SinkContext, settings: &Sheets) -> Option<RedisQueue> {
    let Buffer::Redis { rows, .. } = settings.buffer else {
        return None;
    };
    let redis = context.redis.clone()?;
    let group = context.sink.group();
    Some(RedisQueue::new(redis, &group, &settings.spreadsheet, rows))
}

// === impl SheetsSink ===

impl Destination for SheetsSink {
    type Position = KnownCheckpoint;

    fn locating(&self) -> &'static str {
        "locating its position in the tab"
    }

    fn locate(
        &self,
        _: &mut Consumer,
        partitions: &[Partition],
    ) -> Result<BoxFuture<'static, Result<KnownCheckpoint, Error>>, Error> {
        let (tracker, tab) = (self.tracker.clone(), self.tab.clone());
        let partitions = partitions.to_vec();
        Ok(Box::pin(async move {
            let committed = tracker.wait_for_committed(partitions).await;
            tab.find(committed).await
        }))
    }

    /// Reading resumes where the sheet ends. The checkpoint has no entry for a partition without
    /// rows, which resumes at the first record that was read of it.
    fn open(&self, known: KnownCheckpoint, assignment: &Assignment) -> Result<Opened, Error> {
        let start = |partition: &Partition| {
            let low = known.checkpoint.positions.get(partition);
            let low = low.map(DoneOffsets::low);
            let first = assignment.first.get(partition).copied();
            Some((partition.clone(), low.or(first)?))
        };
        let starts = assignment.partitions.iter().filter_map(start).collect();
        let tab = self.tab.for_spreadsheet(&known.checkpoint.spreadsheet)?;
        let (sink, spreadsheet, rows) = (&tab.sink, &tab.spreadsheet, known.checkpoint.rows);
        tracing::info!(
            sink,
            spreadsheet,
            tab = tab.title,
            rows,
            "writing to the tab"
        );
        let partitions = assignment.partitions.clone();
        let (context, settings) = (&self.context, &self.settings);
        let tracker = self.tracker.clone();
        let session: Box<dyn Session> = if let Some(queue) = self.queue.clone() {
            // Its flusher finds the newest tab itself.
            let tab = self.tab.clone();
            Box::new(RedisSession::new(
                &known, tab, tracker, queue, context, settings, partitions,
            ))
        } else {
            let dead_letters = context.dead_letters.clone();
            Box::new(MemorySession::new(
                known,
                tab,
                tracker,
                dead_letters,
                settings,
                partitions,
            ))
        };
        Ok(Opened { session, starts })
    }
}
