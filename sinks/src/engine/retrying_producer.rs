//! Writes the records that a sink must not lose: journal entries, deferred records and dead
//! letters.

use std::{sync::Arc, time::Duration};

use formline_core::{
    Producer, Shutdown,
    kafka::{producer::ProducerError, record::OutgoingRecord},
    retry::Backoff,
    telemetry::HealthCheck,
};

/// A producer that retries until Kafka accepts the record. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RetryingProducer {
    pub(crate) producer: Arc<Producer>,
    pub(crate) shutdown: Shutdown,
    pub(crate) health: HealthCheck,
}

// === impl RetryingProducer ===

impl RetryingProducer {
    /// Sends a record, and retries while Kafka is unavailable or the queue is full. Returns false
    /// if the shutdown began first; even then it makes one attempt, because the record may describe
    /// an effect that was just made.
    ///
    /// # Errors
    /// If Kafka will never accept the record.
    pub(crate) async fn send<'a>(
        &self,
        outgoing: impl Fn() -> OutgoingRecord<'a>,
    ) -> Result<bool, ProducerError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut has_waited = false;
        loop {
            let outgoing = outgoing();
            let topic = outgoing.topic;
            match self.producer.send(outgoing).await {
                Ok(_) => break,
                Err(error @ (ProducerError::QueueFull | ProducerError::NotAcknowledged(_))) => {
                    tracing::warn!(%error, topic, "a record is not written yet; retrying");
                    let state = format!("cannot write to {topic}: {error}");
                    self.health.waiting(state);
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
            self.health.ready();
        }
        Ok(true)
    }
}
