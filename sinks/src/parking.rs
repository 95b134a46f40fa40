//! Where a sink parks the records that it gives up on: its dead-letter topic.

use std::{sync::Arc, time::Duration};

use formline_core::{
    Producer, Record, Shutdown, app::Sink, dead_letter::DeadLetter, producer, retry::Backoff,
};

use crate::{Error, metrics::Metrics};

/// Parks the dead letters of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Parking {
    pub(crate) sink: Arc<Sink>,
    pub(crate) producer: Arc<Producer>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
}

/// A record to be parked as a dead letter.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) record: Record,
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
    /// How often the sink has tried.
    pub(crate) attempts: u32,
}

// === impl Parking ===

impl Parking {
    /// Parks a record, for as long as Kafka is away. False if the shutdown came first.
    pub(crate) async fn park(&self, letter: &Letter) -> Result<bool, Error> {
        let Letter {
            record,
            reason,
            detail,
            attempts,
        } = letter;
        let topic = self.sink.dead_letter_topic();
        let parked = DeadLetter {
            record,
            step: &self.sink.name,
            reason,
            detail,
            attempts: *attempts,
            plugin: None,
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !self.shutdown.has_begun() {
            match self.producer.send(parked.outgoing(&topic)).await {
                Ok(_) => {
                    let sink = self.metrics.sink();
                    tracing::warn!(sink, ?record, reason, "parked a dead letter");
                    self.metrics.dead_letter(reason);
                    return Ok(true);
                }
                Err(producer::Error::QueueFull | producer::Error::NotAcknowledged(_)) => {
                    tokio::time::sleep(backoff.delay()).await;
                }
                Err(source) => return Err(Error::DeadLetter { topic, source }),
            }
        }
        Ok(false)
    }
}
