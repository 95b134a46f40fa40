//! Where a sink parks the records that it gives up on: its dead-letter topic.

use std::{borrow::Cow, sync::Arc};

use formline_core::{Record, app::Sink, dead_letter::DeadLetter};

use crate::{Error, metrics::Metrics, outbox::Outbox};

/// Parks the dead letters of one sink. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Parking {
    pub(crate) sink: Arc<Sink>,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: Metrics,
}

/// A record to be parked as a dead letter.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) record: Record,
    /// A stable code.
    pub(crate) reason: Cow<'static, str>,
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
        let written = self.outbox.put(|| parked.outgoing(&topic)).await;
        let written = written.map_err(|source| Error::DeadLetter {
            topic: topic.clone(),
            source,
        })?;
        if written {
            let sink = self.metrics.sink();
            tracing::warn!(sink, ?record, %reason, "parked a dead letter");
            self.metrics.dead_letter(reason);
        }
        Ok(written)
    }
}
