//! The test fixture: a topic of records, a sink, its journal and an SMTP server.

use std::{ops::Deref, time::Duration};

use formline_core::{
    Secret, Telemetry,
    app::{Email, SinkKind},
    kafka::topic,
    settings::Smtp as SmtpSettings,
};
use formline_sinks::Options;
use formline_testing::{Smtp, eventually, kafka};
use serde_json::json;

use crate::records::Records;
pub(crate) use crate::running::{DEADLINE, Running};

/// Records, a server, and the settings of the sink between them.
pub(crate) struct Pipeline {
    pub(crate) records: Records,
    pub(crate) settings: Email,
    pub(crate) smtp: Smtp,
    pub(crate) url: String,
    /// Time limit of the sink for a reply.
    pub(crate) timeout: Duration,
}

impl Pipeline {
    pub(crate) async fn new() -> Self {
        Self::before(Smtp::start().await).await
    }

    pub(crate) async fn before(smtp: Smtp) -> Self {
        let records = Records::on(kafka().await, "mail").await;
        let retries = topic::retries(&records.app, "mail");
        records.create(&retries, 3).await;
        let journal = topic::journal(&records.app, "mail");
        records.create(&journal, 3).await;
        let folder = records.folder.path();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("thanks.txt", "Dear {{ name }},\nwe have it.\n");
        write("thanks.html", "<p>Dear {{ name }}, we have it.</p>\n");
        Self {
            records,
            settings: Email {
                to: "email".to_owned(),
                from: "Forms <forms@example.org>".to_owned(),
                reply_to: None,
                subject: "Thanks, {{ name }}".to_owned(),
                template: "thanks".to_owned(),
                per_address: 3,
                per_form: 1_000,
                schedule: vec![Duration::from_millis(500); 3],
            },
            url: smtp.url(),
            smtp,
            timeout: Duration::from_secs(20),
        }
    }

    pub(crate) fn start(&self) -> Running {
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
                timeout: self.timeout,
            }),
            telemetry: Telemetry::new(),
        };
        let kind = SinkKind::Email(self.settings.clone());
        Running::start(options, vec![self.placed(kind)])
    }

    /// Writes a record for this address and returns its id.
    pub(crate) async fn submit_for(&self, address: &str) -> String {
        self.submit(&json!({ "email": address, "name": "Ada" }))
            .await
    }

    /// The ids of the messages that the server has accepted.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mails = self.smtp.mails();
        let mut ids: Vec<String> = mails.iter().map(|mail| id_of(mail)).collect();
        ids.sort();
        ids
    }

    /// Waits until the server has accepted one message for each of these records, and no others.
    pub(crate) async fn expect(&self, ids: &[String]) {
        let mut expected = ids.to_vec();
        expected.sort();
        eventually(DEADLINE, async || {
            let found = self.ids();
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    }
}

impl Deref for Pipeline {
    type Target = Records;

    fn deref(&self) -> &Records {
        &self.records
    }
}

/// The id of the record that a message was composed for.
fn id_of(mail: &str) -> String {
    let header = mail
        .lines()
        .find_map(|line| line.strip_prefix("Message-ID: <"));
    header.unwrap().split('.').next().unwrap().to_owned()
}
