//! apps/demo under a unique name, with records and dead letters that the test writes itself.

use std::process::Output;

use formline_core::{
    Client, Producer, Record,
    dead_letter::headers::DeadLetterRecord,
    event::{self, header},
    kafka::{
        record::{Headers, OutgoingRecord},
        topic,
    },
};
use formline_testing::{kafka, unique};
use tempfile::TempDir;

use super::{
    app::copy_demo,
    command::formline,
    kafka::{client, create_topic, producer, read_all},
};

/// The app and its topics. No process runs its step `rows` and its sink `sheet`.
pub(crate) struct DemoApp {
    pub(crate) name: String,
    pub(crate) client: Client,
    folder: TempDir,
    bootstrap: String,
    producer: Producer,
}

// === impl DemoApp ===

impl DemoApp {
    /// The app, without any topic.
    pub(crate) async fn new() -> Self {
        let (name, folder) = (unique("demo"), tempfile::tempdir().unwrap());
        copy_demo(folder.path(), &name, |text| text);
        let bootstrap = kafka().await.bootstrap().to_owned();
        let client = client(&bootstrap);
        Self {
            name,
            folder,
            bootstrap,
            producer: producer(&client),
            client,
        }
    }

    /// Creates topics with one partition each.
    pub(crate) async fn create_topics(&self, names: &[String]) {
        for name in names {
            create_topic(&self.client, name).await;
        }
    }

    /// Runs a command on the app. It must not need the plug-in folder.
    pub(crate) fn formline(&self, arguments: &[&str]) -> Output {
        let mut command = formline();
        let command = command.args(arguments).arg("--app").arg(self.folder.path());
        let command = command.args(["--bootstrap", &self.bootstrap]);
        command.env("FORMLINE_PLUGINS", "nowhere").output().unwrap()
    }

    /// Writes a record to partition 0 of a topic.
    pub(crate) async fn send(
        &self,
        topic: &str,
        key: &[u8],
        value: Option<&str>,
        headers: Headers,
    ) {
        let record = OutgoingRecord {
            topic,
            partition: Some(0),
            key: Some(key),
            value: value.map(str::as_bytes),
            headers,
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
    }

    /// Writes a submission to the topic of the app.
    pub(crate) async fn submit(&self, id: &str, form: &str, value: &str) {
        let headers = Headers::with_capacity(2)
            .with(header::ID, id)
            .with(header::SOURCE, event::source(form));
        self.send(&self.name, b"a-key", Some(value), headers).await;
    }

    /// Writes a dead letter of the step `rows` for the latest record of the topic of the app.
    pub(crate) async fn dead_letter_latest(&self, reason: &str, detail: &str) {
        let record = self.records(&self.name).pop().unwrap();
        let letter = DeadLetterRecord {
            record: &record,
            step: "rows",
            reason,
            detail,
            attempts: 2,
            plugin: Some("rows@0.1.0"),
        };
        let topic = topic::dead_letter(&self.name, "rows");
        self.producer.send(letter.outgoing(&topic)).await.unwrap();
    }

    /// The name of a dead letter of the step `rows`.
    pub(crate) fn letter(&self, offset: usize) -> String {
        format!("{}/rows@{offset}", self.name)
    }

    pub(crate) fn records(&self, topic: &str) -> Vec<Record> {
        read_all(&self.client, topic)
    }
}
