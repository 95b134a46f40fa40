//! Writes what a sink has to keep into its own topics: entries of its journal, records that it puts off, dead letters.

use std::{sync::Arc, time::Duration};

use formline_core::{
    Producer, Shutdown, producer, record::Outgoing, retry::Backoff, telemetry::Part,
};

/// The way of one sink into Kafka. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    pub(crate) producer: Arc<Producer>,
    pub(crate) shutdown: Shutdown,
    pub(crate) part: Part,
}

// === impl Outbox ===

impl Outbox {
    /// Writes a record, for as long as Kafka is away or does not let us. False if the shutdown came first, after one
    /// attempt at least: what was done just before it is to be known, too.
    ///
    /// # Errors
    /// If Kafka will never take the record.
    pub(crate) async fn put<'a>(
        &self,
        outgoing: impl Fn() -> Outgoing<'a>,
    ) -> Result<bool, producer::Error> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut has_waited = false;
        loop {
            let outgoing = outgoing();
            let topic = outgoing.topic;
            match self.producer.send(outgoing).await {
                Ok(_) => break,
                Err(error @ (producer::Error::QueueFull | producer::Error::NotAcknowledged(_))) => {
                    tracing::warn!(%error, topic, "a record is not written yet");
                    self.part
                        .waiting(format!("{topic} takes no record: {error}"));
                }
                Err(error) => return Err(error),
            }
            if self.shutdown.has_begun() {
                return Ok(false);
            }
            has_waited = true;
            tokio::time::sleep(backoff.delay()).await;
        }
        if has_waited {
            self.part.ready();
        }
        Ok(true)
    }
}
