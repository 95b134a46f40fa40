//! The dead-letter topic of one sink: the records that it cannot deliver.

use std::{borrow::Cow, sync::Arc};

use formline_core::{Record, app::Sink, dead_letter::headers::DeadLetterRecord};

use super::{metrics::SinkMetrics, retrying_producer::RetryingProducer};
use crate::error::Error;

/// Dead-letters records of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetterQueue {
    pub(crate) sink: Arc<Sink>,
    pub(crate) producer: RetryingProducer,
    pub(crate) metrics: SinkMetrics,
}

/// A record that the sink cannot deliver.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) record: Record,
    /// A stable code.
    pub(crate) reason: Cow<'static, str>,
    pub(crate) detail: String,
    /// How many attempts the sink has made.
    pub(crate) attempts: u32,
}

// === impl DeadLetterQueue ===

impl DeadLetterQueue {
    /// Writes a dead letter, and retries while Kafka is unavailable. Returns false if the shutdown
    /// began first.
    ///
    /// # Errors
    /// If the topic will never accept the record.
    pub(crate) async fn send(&self, letter: &DeadLetter) -> Result<bool, Error> {
        let DeadLetter {
            record,
            reason,
            detail,
            attempts,
        } = letter;
        let topic = self.sink.dead_letter_topic();
        let annotated = DeadLetterRecord {
            record,
            step: &self.sink.name,
            reason,
            detail,
            attempts: *attempts,
            plugin: None,
        };
        let written = self.producer.send(|| annotated.outgoing(&topic)).await;
        let written = written.map_err(|source| Error::DeadLetter {
            topic: topic.clone(),
            source,
        })?;
        if written {
            let sink = self.metrics.sink();
            tracing::warn!(sink, ?record, %reason, "dead-lettered a record");
            self.metrics.dead_letter(reason);
        }
        Ok(written)
    }
}
