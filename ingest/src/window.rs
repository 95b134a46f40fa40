//! Before keys are taken: which ones the log holds already.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use formline_core::{App, Client, Shutdown, client, duplicates::Keyed, retry::Backoff};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::keys::Keys;

/// Notes the keyed submissions of the window from the topics of all forms, however long Kafka is away. Ends early when
/// `stop` is cancelled.
pub(crate) async fn read(
    apps: &[Arc<App>],
    client: &Client,
    keys: &Arc<Keys>,
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
        while let Err(error) = read_topic(topic, client, keys, shutdown, stop).await {
            if stop.is_cancelled() {
                return;
            }
            // A line that starts for the first time makes its topics at the same moment.
            if matches!(error, client::Error::NoTopic(_)) {
                tracing::debug!(%error, topic, "the form's topic is not there yet");
            } else {
                tracing::warn!(%error, topic, "the window of idempotency keys cannot be read yet");
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }
    if !stop.is_cancelled() {
        keys.are_known();
    }
}

async fn read_topic(
    topic: &str,
    client: &Client,
    keys: &Arc<Keys>,
    shutdown: &Shutdown,
    stop: &CancellationToken,
) -> Result<(), client::Error> {
    let (topic, client) = (topic.to_owned(), client.clone());
    let (keys, stop) = (Arc::clone(keys), stop.clone());
    let reading = shutdown.spawn_blocking(move || {
        Keyed::read(
            &client,
            &topic,
            || !stop.is_cancelled(),
            |keyed, record| {
                let written = Timestamp::from_millisecond(record.timestamp_ms).unwrap_or_default();
                let time = keyed.time.parse().unwrap_or(written);
                keys.note(keyed.id, &keyed.fingerprint, time);
            },
        )
    });
    reading.await.expect("reading records does not panic")
}
