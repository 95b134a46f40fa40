//! The vocabulary: a line with a topic of records, a sink, its journal and an SMTP server.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use formline_core::{
    App, Client, EventId, Producer, Shutdown, Telemetry,
    app::{Email, Location, Sink, SinkKind},
    event::{Submission, header},
    ledger::{DeadLetters, Ledger},
    letter::Letter,
    producer,
    reader::{From, Reader},
    record::{Headers, Outgoing},
    settings::{Secret, Smtp as SmtpSettings},
    settlement::Settler,
    topic::{self, Topic},
};
use formline_sinks::Options;
use formline_testing::{Smtp, eventually, kafka, unique};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::running::Running;

/// Longer than anything that a healthy line on a busy machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A topic with two partitions, a server, and what the sink between them is told.
pub(crate) struct Line {
    pub(crate) client: Client,
    pub(crate) app: String,
    pub(crate) settings: Email,
    pub(crate) smtp: Smtp,
    pub(crate) url: String,
    /// How long the sink waits for an answer.
    pub(crate) patience: Duration,
    topic: String,
    producer: Producer,
    folder: TempDir,
}

impl Line {
    pub(crate) async fn new() -> Self {
        Self::before(Smtp::start().await).await
    }

    pub(crate) async fn before(smtp: Smtp) -> Self {
        let client = Client::new(kafka().await.bootstrap(), BTreeMap::new());
        let app = unique("app");
        let topic = |name: &str, partitions| Topic {
            name: name.to_owned(),
            partitions,
            config: BTreeMap::new(),
        };
        let (letters, journal) = (
            topic::dead_letter(&app, "mail"),
            topic::journal(&app, "mail"),
        );
        let topics = [topic(&app, 2), topic(&letters, 1), topic(&journal, 2)];
        topic::apply(&client, &topics).await.unwrap();
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(30),
            queue_messages: 10_000,
            queue_kib: 65_536,
        };
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("thanks.txt", "Dear {{ name }},\nwe have it.\n");
        write("thanks.html", "<p>Dear {{ name }}, we have it.</p>\n");
        Self {
            producer: Producer::open(&client, options).unwrap(),
            client,
            topic: app.clone(),
            app,
            settings: Email {
                to: "email".to_owned(),
                from: "Forms <forms@example.org>".to_owned(),
                reply_to: None,
                subject: "Thanks, {{ name }}".to_owned(),
                template: "thanks".to_owned(),
                per_address: 3,
                per_form: 1_000,
            },
            url: smtp.url(),
            smtp,
            patience: Duration::from_secs(20),
            folder,
        }
    }

    fn sink(&self) -> (Arc<App>, Arc<Sink>) {
        let location = Location {
            file: Arc::new(PathBuf::from("app.toml")),
            line: 1,
        };
        let sink = Arc::new(Sink {
            app: self.app.clone(),
            name: "mail".to_owned(),
            input: vec![self.topic.clone()],
            kind: SinkKind::Email(self.settings.clone()),
            location,
        });
        let app = App {
            name: self.app.clone(),
            folder: self.folder.path().to_owned(),
            topics: Vec::new(),
            forms: Vec::new(),
            steps: Vec::new(),
            sinks: vec![Arc::clone(&sink)],
        };
        (Arc::new(app), sink)
    }

    pub(crate) fn start(&self) -> Running {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let (telemetry, shutdown) = (Telemetry::new(), Shutdown::new());
        let options = Options {
            client: self.client.clone(),
            instance: "one".to_owned(),
            google: None,
            google_calls_per_minute: 60,
            postgres_url: None,
            redis: None,
            webhook_private_addresses: Vec::new(),
            smtp: Some(SmtpSettings {
                url: Secret::new(&self.url),
                timeout: self.patience,
            }),
            telemetry: telemetry.clone(),
        };
        runtime.spawn(formline_sinks::run(
            options,
            vec![self.sink()],
            shutdown.clone(),
        ));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap());
        let served = telemetry.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            served.serve(listener).await
        });
        Running {
            telemetry,
            admin,
            shutdown,
            runtime: Some(runtime),
        }
    }

    /// A record for this address, as a step would write it; its id.
    pub(crate) async fn submit(&self, address: &str) -> String {
        self.submit_fields(&json!({ "email": address, "name": "Ada" }))
            .await
    }

    pub(crate) async fn submit_fields(&self, fields: &Value) -> String {
        let id = EventId::new();
        let submission = Submission {
            id,
            time: Timestamp::now(),
            form: "student-data",
            subject: None,
            schema: "/v1/forms/student-data/schema",
            trace_parent: None,
            fingerprint: None,
        };
        self.put(submission.headers(), &fields.to_string()).await;
        id.to_string()
    }

    pub(crate) async fn put(&self, headers: Headers, value: &str) {
        let id = headers.get(header::ID).map(<[u8]>::to_vec);
        let record = Outgoing {
            topic: &self.topic,
            partition: None,
            // Both partitions are used.
            key: id.as_deref(),
            value: Some(value.as_bytes()),
            headers,
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
    }

    /// The ids of the mails that the server has taken.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mails = self.smtp.mails();
        let mut ids: Vec<String> = mails.iter().map(|mail| id_of(mail)).collect();
        ids.sort();
        ids
    }

    /// Waits until the server has taken a mail for each of these records, and nothing else.
    pub(crate) async fn expect(&self, ids: &[String]) {
        let mut expected = ids.to_vec();
        expected.sort();
        eventually(DEADLINE, async || {
            let found = self.ids();
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    }

    /// The outcomes that the journal holds about a record, oldest first.
    pub(crate) async fn journal(&self, id: &str) -> Vec<String> {
        let (client, topic) = (self.client.clone(), topic::journal(&self.app, "mail"));
        let id = id.to_owned();
        let read = move || {
            let mut reader = Reader::open(&client, &topic, &[], From::Beginning).unwrap();
            let mut outcomes = Vec::new();
            let note = |record: formline_core::Record| {
                if record.key() == Some(id.as_bytes()) {
                    let entry: Value = serde_json::from_slice(record.value().unwrap()).unwrap();
                    outcomes.push(entry["outcome"].as_str().unwrap().to_owned());
                }
            };
            reader.read_to_end(|| true, note).unwrap();
            outcomes
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// Waits until the journal says this of a record, and nothing else.
    pub(crate) async fn expect_journal(&self, id: &str, outcomes: &[&str]) {
        eventually(DEADLINE, async || {
            let found = self.journal(id).await;
            (found == outcomes).then_some(()).ok_or(found)
        })
        .await;
    }

    fn dead_letter_owner(&self) -> DeadLetters {
        DeadLetters {
            app: self.app.clone(),
            step: "mail".to_owned(),
            topics: vec![self.topic.clone()],
        }
    }

    /// The open dead letters.
    async fn dead_letters(&self) -> Vec<Letter> {
        let (client, owner) = (self.client.clone(), self.dead_letter_owner());
        let read = move || {
            let ledger = Ledger::read(&client, owner).unwrap();
            let letters = ledger.letters(&client, 0).unwrap().map(Result::unwrap);
            let open = letters.filter(|letter| ledger.closed(letter.id.offset).is_none());
            open.collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// Waits until there are open dead letters for these reasons.
    pub(crate) async fn expect_dead_letters(&self, reasons: &[&str]) {
        eventually(DEADLINE, async || {
            let letters = self.dead_letters().await;
            let found: Vec<String> = letters
                .iter()
                .map(|letter| letter.reason().to_owned())
                .collect();
            (found == reasons).then_some(()).ok_or(found)
        })
        .await;
    }

    /// Replays every open dead letter.
    pub(crate) async fn replay(&self) {
        let (client, owner) = (self.client.clone(), self.dead_letter_owner());
        let letters = self.dead_letters().await;
        let settle = move || {
            let mut settler = Settler::open(&client, owner).unwrap();
            for letter in &letters {
                settler.replay(letter).unwrap();
            }
        };
        tokio::task::spawn_blocking(settle).await.unwrap();
    }
}

/// The record that a mail was made of.
fn id_of(mail: &str) -> String {
    let line = mail
        .lines()
        .find_map(|line| line.strip_prefix("Message-ID: <"));
    line.unwrap().split('.').next().unwrap().to_owned()
}
