//! The lag of the steps of this process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use formline_core::{
    Client,
    app::Step,
    kafka::{
        client::ClientError,
        group_progress::{GroupProgress, Stage},
        record::Partition,
    },
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The committed offsets of one step's partitions that this process owns. Cheap to clone; all
/// clones share their state.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommittedOffsets(Arc<Mutex<BTreeMap<Partition, i64>>>);

/// The interval of measurements. It is shorter than most scrape intervals, because operators watch
/// the lag live (`formline top`).
const INTERVAL: Duration = Duration::from_secs(5);

// === impl CommittedOffsets ===

impl CommittedOffsets {
    pub(crate) fn set(&self, partition: &Partition, next: i64) {
        self.offsets().insert(partition.clone(), next);
    }

    pub(crate) fn remove(&self, partition: &Partition) {
        self.offsets().remove(partition);
    }

    fn offsets(&self) -> MutexGuard<'_, BTreeMap<Partition, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the lag metric up to date until it is stopped.
pub(crate) async fn report(
    client: Client,
    steps: Vec<(Arc<Step>, CommittedOffsets)>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let stages = steps.iter().map(|(step, _)| Stage {
        group: step.group(),
        topics: step.topics(),
    });
    let stages: Vec<_> = stages.collect();
    let opened = tokio::task::spawn_blocking(move || GroupProgress::open(&client, stages)).await;
    let progress = match opened.expect("opening does not panic") {
        Ok(progress) => Arc::new(progress),
        Err(error) => return tracing::error!(%error, "cannot measure the lag of the steps"),
    };
    while !stop.is_cancelled() {
        let (asked, own, gauges) = (Arc::clone(&progress), steps.clone(), metrics.clone());
        let measuring = tokio::task::spawn_blocking(move || measure(&asked, &own, &gauges));
        // While Kafka is unavailable a response takes long; a stopping process does not wait for
        // it.
        let Some(measured) = stop.run_until_cancelled(measuring).await else {
            return;
        };
        if let Err(error) = measured.expect("measuring does not panic") {
            tracing::debug!(%error, "the lag of the steps is unknown");
        }
        stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
    }
}

fn measure(
    progress: &GroupProgress,
    steps: &[(Arc<Step>, CommittedOffsets)],
    metrics: &Metrics,
) -> Result<(), ClientError> {
    let mut lags = Vec::new();
    for (index, (step, committed)) in steps.iter().enumerate() {
        for (topic, number, end) in progress.ends(index)? {
            let partition = Partition {
                topic: topic.as_str().into(),
                number,
            };
            // The owner of another partition reports its lag.
            if let Some(next) = committed.offsets().get(&partition) {
                lags.push((step, topic, number.to_string(), (end - next).max(0)));
            }
        }
    }
    metrics.lag.reset();
    for (step, topic, number, lag) in lags {
        metrics
            .lag
            .with_label_values(&[&step.app, &step.name, &topic, &number])
            .set(lag);
    }
    Ok(())
}
