//! Fills a topic with submissions before either side starts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use formline_core::{EventId, Producer, kafka::producer::ProducerOptions};
use tokio::task::JoinSet;

use super::environment::Environment;
use crate::generator::{Students, Target as _, TopicTarget};

/// Number of records in flight.
pub(super) const WRITERS: usize = 1_000;

/// Writes submissions to the topic like ingest, and returns their ids.
pub(super) async fn fill(
    environment: &Environment,
    topic: &str,
    round: u32,
    records: u32,
) -> Result<Vec<EventId>> {
    let producer = Arc::new(producer(environment)?);
    let students = Arc::new(Students::bodies(environment.seed.wrapping_add(round)));
    let mut writers = JoinSet::new();
    let next = Arc::new(AtomicU32::new(0));
    for _ in 0..WRITERS {
        let next = Arc::clone(&next);
        let mut topic = TopicTarget {
            name: topic.into(),
            producer: Arc::clone(&producer),
            students: Arc::clone(&students),
        };
        writers.spawn(async move {
            let mut written = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= records {
                    return anyhow::Ok(written);
                }
                written.extend(topic.send(number.into()).await?.id);
            }
        });
    }
    let mut written = Vec::new();
    while let Some(ids) = writers.join_next().await {
        written.extend(ids??);
    }
    Ok(written)
}

/// A producer whose queue has room for all writers.
pub(super) fn producer(environment: &Environment) -> Result<Producer> {
    let limits = ProducerOptions {
        delivery_timeout: Duration::from_secs(30),
        queue_messages: 100_000,
        queue_kib: 256 << 10,
    };
    Ok(Producer::open(&environment.client, limits)?)
}
