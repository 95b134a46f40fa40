//! The test fixture: a topic of records, a sink with its own topics, and a receiver.

use std::{collections::BTreeMap, ops::Deref, time::Duration};

use formline_core::{
    Secret, Telemetry,
    app::{SinkKind, Webhook},
    kafka::topic,
};
use formline_sinks::{
    Error, Options,
    audit::{self, AuditQuery, AuditSources, OutcomeState, SinkOutcome},
};
use formline_testing::{Kafka, Receiver, eventually, kafka};
use jiff::Timestamp;
use serde_json::json;

use crate::records::Records;
pub(crate) use crate::running::{DEADLINE, Running};

/// Longer than any test.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Records, a receiver, and the settings of the sink between them.
pub(crate) struct Pipeline {
    pub(crate) records: Records,
    pub(crate) settings: Webhook,
    pub(crate) receiver: Receiver,
    /// Networks that the installation allows although they are not public.
    pub(crate) networks: Vec<&'static str>,
}

impl Pipeline {
    /// A pipeline whose retries have these delays.
    pub(crate) async fn new(schedule: &[Duration]) -> Self {
        Self::on(kafka().await, schedule).await
    }

    pub(crate) async fn on(kafka: &Kafka, schedule: &[Duration]) -> Self {
        Self::with_limit(kafka, schedule, "1048576").await
    }

    /// A pipeline whose retries topic has a limit for the size of records.
    pub(crate) async fn with_limit(kafka: &Kafka, schedule: &[Duration], bytes: &str) -> Self {
        let records = Records::on(kafka, "crm").await;
        let receiver = Receiver::start().await;
        let pipeline = Self {
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
        // Only the partitions that are needed; an app has 20, which take Kafka longer to create.
        let delays = i32::try_from(schedule.len()).unwrap();
        let (retries, journal) = (
            topic::retries(&pipeline.app, "crm"),
            topic::journal(&pipeline.app, "crm"),
        );
        pipeline.create_with_limit(&retries, delays, bytes).await;
        pipeline.create(&journal, delays.max(2)).await;
        pipeline
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

    /// Writes a record and returns its id.
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

    /// Waits until the receiver has accepted these records, each once, and no others.
    pub(crate) async fn expect(&self, ids: &[String]) {
        let mut expected = ids.to_vec();
        expected.sort();
        eventually(DEADLINE, async || {
            let found = self.receiver.taken();
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    }

    /// Waits until the receiver has accepted these records, each at least once.
    pub(crate) async fn expect_all(&self, ids: &[String]) {
        eventually(DEADLINE, async || {
            let found = self.receiver.taken();
            ids.iter().all(|id| found.contains(id))
        })
        .await;
    }

    /// Waits until an audit reports these records as delivered, and these as under way.
    pub(crate) async fn expect_outcomes(&self, delivered: &[String], under_way: &[String]) {
        let sorted = |ids: &[String]| {
            let mut ids = ids.to_vec();
            ids.sort();
            ids
        };
        eventually(DEADLINE, async || {
            let recently = Timestamp::now() - HOUR;
            let (found, waiting) = self.outcomes(recently).await.unwrap_or_default();
            let found = (sorted(&found), sorted(&waiting));
            let is_equal = found == (sorted(delivered), sorted(under_way));
            is_equal.then_some(()).ok_or(found)
        })
        .await;
    }

    /// The number of records that were ever deferred, by the index of the delay.
    async fn deferred(&self) -> BTreeMap<i32, usize> {
        let mut found = BTreeMap::new();
        for record in self.read(&topic::retries(&self.app, "crm")).await {
            *found.entry(record.partition.number).or_default() += 1;
        }
        found
    }

    pub(crate) async fn expect_deferred(&self, expected: &[(i32, usize)]) {
        let expected: BTreeMap<_, _> = expected.iter().copied().collect();
        eventually(DEADLINE, async || {
            let found = self.deferred().await;
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    }

    /// Ids of delivered records, and ids of records that are under way.
    pub(crate) async fn outcomes(
        &self,
        since: Timestamp,
    ) -> Result<(Vec<String>, Vec<String>), Error> {
        let sources = AuditSources {
            client: self.client.clone(),
            google: None,
            postgres_url: None,
        };
        let (_, sink) = self.placed(self.kind());
        let query = AuditQuery {
            sink: &sink,
            sources: &[],
            since,
        };
        let (mut delivered, mut under_way) = (Vec::new(), Vec::new());
        let mut visit = |outcome: SinkOutcome| match outcome.state {
            OutcomeState::Done => delivered.push(outcome.id.to_string()),
            OutcomeState::UnderWay => under_way.push(outcome.id.to_string()),
            OutcomeState::Unknown => panic!("{outcome:?}"),
        };
        audit::outcomes(&sources, query, &mut visit).await?;
        Ok((delivered, under_way))
    }
}

impl Deref for Pipeline {
    type Target = Records;

    fn deref(&self) -> &Records {
        &self.records
    }
}
