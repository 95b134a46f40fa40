//! The vocabulary: a line with a topic of records, a sink with its own topics, and a receiver.

use std::{collections::BTreeMap, ops::Deref, time::Duration};

use formline_core::{
    Telemetry,
    app::{SinkKind, Webhook},
    settings::Secret,
    topic,
};
use formline_sinks::{
    Error, Options,
    outcomes::{Outside, Question, State},
};
use formline_testing::{Kafka, Receiver, eventually, kafka};
use jiff::Timestamp;
use serde_json::json;

use crate::{records::Records, running::Running};

/// Longer than anything that a healthy line on a busy machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// So long that a test never sees its end.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Records, a receiver, and what the sink between them is told.
pub(crate) struct Line {
    pub(crate) records: Records,
    pub(crate) settings: Webhook,
    pub(crate) receiver: Receiver,
    /// What the installation lets be called although it is not public.
    pub(crate) networks: Vec<&'static str>,
}

impl Line {
    /// With these delays.
    pub(crate) async fn new(schedule: &[Duration]) -> Self {
        Self::on(kafka().await, schedule).await
    }

    pub(crate) async fn on(kafka: &Kafka, schedule: &[Duration]) -> Self {
        Self::with_topics(kafka, schedule, "1048576").await
    }

    /// The sink's own topics take records of at most so many bytes.
    pub(crate) async fn with_topics(kafka: &Kafka, schedule: &[Duration], bytes: &str) -> Self {
        let records = Records::on(kafka, "crm").await;
        let receiver = Receiver::start().await;
        let line = Self {
            settings: Webhook {
                url: Secret::new(receiver.url()),
                secrets: vec![Secret::new(Receiver::SECRET)],
                timeout: Duration::from_secs(30),
                in_flight: 8,
                schedule: schedule.to_vec(),
            },
            records,
            receiver,
            networks: vec!["127.0.0.0/8"],
        };
        // As many partitions as are needed: an app has 20, which costs Kafka time.
        let delays = i32::try_from(schedule.len()).unwrap();
        let (retries, journal) = (
            topic::retries(&line.app, "crm"),
            topic::journal(&line.app, "crm"),
        );
        line.create_for(&retries, delays, bytes).await;
        line.create(&journal, delays.max(2)).await;
        line
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            client: self.client.clone(),
            instance: "one".to_owned(),
            google: None,
            google_calls_per_minute: 60,
            postgres_url: None,
            redis: None,
            smtp: None,
            webhook_private_addresses: (self.networks.iter())
                .map(|network| network.parse().unwrap())
                .collect(),
            telemetry: Telemetry::new(),
        }
    }

    pub(crate) fn kind(&self) -> SinkKind {
        SinkKind::Webhook(self.settings.clone())
    }

    pub(crate) fn start(&self) -> Running {
        self.start_as("one")
    }

    pub(crate) fn start_as(&self, instance: &str) -> Running {
        let mut options = self.options();
        instance.clone_into(&mut options.instance);
        Running::start(options, vec![self.placed(self.kind())])
    }

    /// A record; its id.
    pub(crate) async fn submit_one(&self) -> String {
        self.submit(&json!({ "name": "Ada" })).await
    }

    pub(crate) async fn submit_many(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.submit_one().await);
        }
        ids
    }

    /// Waits until the receiver has taken these, each once, and nothing else.
    pub(crate) async fn expect(&self, ids: &[String]) {
        let mut expected = ids.to_vec();
        expected.sort();
        eventually(DEADLINE, async || {
            let found = self.receiver.taken();
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    }

    /// Waits until the receiver has taken these, at least once each.
    pub(crate) async fn expect_all(&self, ids: &[String]) {
        eventually(DEADLINE, async || {
            let found = self.receiver.taken();
            ids.iter().all(|id| found.contains(id))
        })
        .await;
    }

    /// Waits until an outsider is told that these were taken, and these are under way.
    pub(crate) async fn expect_outcomes(&self, taken: &[String], under_way: &[String]) {
        let sorted = |ids: &[String]| {
            let mut ids = ids.to_vec();
            ids.sort();
            ids
        };
        eventually(DEADLINE, async || {
            let recently = Timestamp::now() - HOUR;
            let (found, waiting) = self.outcomes(recently).await.unwrap_or_default();
            let found = (sorted(&found), sorted(&waiting));
            let is_it = found == (sorted(taken), sorted(under_way));
            is_it.then_some(()).ok_or(found)
        })
        .await;
    }

    /// How many records were ever put off, by the number of the delay.
    async fn put_off(&self) -> BTreeMap<i32, usize> {
        let mut found = BTreeMap::new();
        for record in self.read(&topic::retries(&self.app, "crm")).await {
            *found.entry(record.partition.number).or_default() += 1;
        }
        found
    }

    pub(crate) async fn expect_put_off(&self, expected: &[(i32, usize)]) {
        let expected: BTreeMap<_, _> = expected.iter().copied().collect();
        eventually(DEADLINE, async || {
            let found = self.put_off().await;
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    }

    /// Ids that were taken, and ids that are still under way.
    pub(crate) async fn outcomes(
        &self,
        since: Timestamp,
    ) -> Result<(Vec<String>, Vec<String>), Error> {
        let outside = Outside {
            client: self.client.clone(),
            google: None,
            postgres_url: None,
        };
        let (_, sink) = self.placed(self.kind());
        let question = Question {
            sink: &sink,
            sources: &[],
            since,
        };
        let (mut taken, mut under_way) = (Vec::new(), Vec::new());
        let mut visit = |outcome: formline_sinks::outcomes::Outcome| match outcome.state {
            State::Done => taken.push(outcome.id.to_string()),
            State::UnderWay => under_way.push(outcome.id.to_string()),
            State::Uncertain => panic!("{outcome:?}"),
        };
        outside.outcomes(question, &mut visit).await?;
        Ok((taken, under_way))
    }
}

impl Deref for Line {
    type Target = Records;

    fn deref(&self) -> &Records {
        &self.records
    }
}
