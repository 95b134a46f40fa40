//! Restores the idempotency keys of the window from the log when the process starts.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use formline_core::{
    App, Client, Shutdown, event::dedup::KeyedSubmission, kafka::client::ClientError,
    retry::Backoff,
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::idempotency::IdempotencyKeys;

/// Inserts the keyed submissions of the window from the topics of all forms, then marks the keys as
/// restored. Retries while Kafka is unavailable. Returns early when `stop` is cancelled.
pub(crate) async fn restore(
    apps: &[Arc<App>],
    client: &Client,
    keys: &Arc<IdempotencyKeys>,
    shutdown: &Shutdown,
    stop: &CancellationToken,
) {
    let topics: BTreeSet<&str> = apps
        .iter()
        .flat_map(|app| &app.forms)
        .map(|form| form.topic.as_str())
        .collect();
    for topic in topics {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        while let Err(error) = restore_topic(topic, client, keys, shutdown, stop).await {
            if stop.is_cancelled() {
                return;
            }
            // On the first start, the process creates the topics at the same time.
            if matches!(error, ClientError::NoTopic(_)) {
                tracing::debug!(%error, topic, "the topic of the form does not exist yet");
            } else {
                tracing::warn!(%error, topic, "failed to restore idempotency keys, retrying");
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }
    if !stop.is_cancelled() {
        keys.mark_restored();
    }
}

async fn restore_topic(
    topic: &str,
    client: &Client,
    keys: &Arc<IdempotencyKeys>,
    shutdown: &Shutdown,
    stop: &CancellationToken,
) -> Result<(), ClientError> {
    let (topic, client) = (topic.to_owned(), client.clone());
    let (keys, stop) = (Arc::clone(keys), stop.clone());
    let reading = shutdown.spawn_blocking(move || {
        KeyedSubmission::read_window(
            &client,
            &topic,
            || !stop.is_cancelled(),
            |keyed, record| {
                let written = Timestamp::from_millisecond(record.timestamp_ms).unwrap_or_default();
                let time = keyed.time.parse().unwrap_or(written);
                keys.insert_accepted(keyed.id, &keyed.fingerprint, time);
            },
        )
    });
    reading.await.expect("reading records does not panic")
}
