//! Submissions that lie ready in a topic before either side starts, as ingest writes them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use formline_core::{EventId, Producer, producer};
use tokio::task::JoinSet;

use super::setting::Setting;
use crate::generator::{self, Students, Target as _};

/// Records that are under way while the topic is filled.
pub(super) const WRITERS: usize = 1_000;

/// Writes so many submissions into the topic, and gives their ids.
pub(super) async fn fill(
    setting: &Setting,
    topic: &str,
    round: u32,
    records: u32,
) -> Result<Vec<EventId>> {
    let producer = Arc::new(producer(setting)?);
    let students = Arc::new(Students::bodies(setting.seed.wrapping_add(round)));
    let mut writers = JoinSet::new();
    let next = Arc::new(AtomicU32::new(0));
    for _ in 0..WRITERS {
        let next = Arc::clone(&next);
        let mut topic = generator::Topic {
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

/// A producer with room for all writers.
pub(super) fn producer(setting: &Setting) -> Result<Producer> {
    let limits = producer::Options {
        delivery_timeout: Duration::from_secs(30),
        queue_messages: 100_000,
        queue_kib: 256 << 10,
    };
    Ok(Producer::open(&setting.client, limits)?)
}
