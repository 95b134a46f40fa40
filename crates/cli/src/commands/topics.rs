//! `formline topics apply`: creates the topics that the apps declare.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use formline_core::{
    App, Client,
    kafka::topic::{self, Topic, TopicChange, TopicError},
    retry::Backoff,
};
use serde_json::json;

use crate::{arguments::TopicsApplyArgs, installation::Installation};

pub(super) fn run(arguments: &TopicsApplyArgs) -> Result<()> {
    let installation = Installation::load(&arguments.installation)?;
    let topics = declared(&installation.apps);
    let runtime = tokio::runtime::Runtime::new()?;
    let applied = runtime.block_on(topic::apply(&installation.client, &topics))?;
    if arguments.output.json {
        let list: Vec<_> = applied
            .iter()
            .map(|(name, done)| json!({ "topic": name, "done": describe(done) }))
            .collect();
        println!("{}", serde_json::Value::from(list));
        return Ok(());
    }
    for (name, done) in &applied {
        println!("{name}: {}", describe(done));
    }
    Ok(())
}

/// The topics of all apps, each once.
fn declared(apps: &[Arc<App>]) -> Vec<Topic> {
    let mut topics: Vec<Topic> = apps.iter().flat_map(|app| &app.topics).cloned().collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics.dedup_by(|a, b| a.name == b.name);
    topics
}

/// Applies the topics. Retries without limit while Kafka cannot be reached.
pub(super) async fn apply_when_kafka_answers(client: &Client, apps: &[Arc<App>]) -> Result<()> {
    let topics = declared(apps);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        match topic::apply(client, &topics).await {
            Ok(applied) => {
                for (name, done) in applied
                    .iter()
                    .filter(|(_, done)| *done != TopicChange::Unchanged)
                {
                    tracing::info!(topic = %name, "topic {}", describe(done));
                }
                return Ok(());
            }
            Err(TopicError::Client(error)) => {
                tracing::warn!(%error, "waiting for kafka");
                tokio::time::sleep(backoff.delay()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn describe(applied: &TopicChange) -> String {
    match applied {
        TopicChange::Created => "created".to_owned(),
        TopicChange::Unchanged => "unchanged".to_owned(),
        TopicChange::Extended { from } => format!("extended from {from} partitions"),
    }
}
