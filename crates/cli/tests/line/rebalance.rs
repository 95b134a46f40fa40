//! Processes of steps come and go as they do in a bad week: started, stopped, killed, frozen and thawed. What came out is
//! counted at the destination.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    App, Client, EventId, Producer, Record,
    app::{self, UnknownPlugins},
    event::{Submission, header},
    producer,
    progress::Progress,
    reader::{From, Reader},
    record::Outgoing,
    topic,
};
use formline_testing::{Process, eventually, free_port, kafka, plugins_dir, unique};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::vocabulary::{PATIENCE, Seed, copy_app, is_drill, repository, student};

/// Processes that share the steps of one app.
struct Crew {
    app: String,
    folder: TempDir,
    bootstrap: String,
    members: Vec<Member>,
}

struct Member {
    name: String,
    process: Option<Process>,
    frozen_until: Option<Instant>,
}

/// What was submitted, and what has to come of it.
struct Fed {
    producer: Producer,
    topic: String,
    form: String,
    ids: BTreeSet<String>,
    /// Submissions of each key in their order.
    by_key: BTreeMap<String, Vec<String>>,
    /// By the keys of the step `analytics`: form, minute and partition.
    counts: BTreeMap<String, u64>,
}

const MEMBERS: usize = 4;

/// Few keys, so that each has an order that can be broken.
const KEYS: usize = 40;

/// Between two submissions.
const PACE: Duration = Duration::from_millis(2);

/// Longer than the session of a member: it is given up, and finds out only when it thaws.
const FREEZE_SECONDS: u64 = 14;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_the_processes_of_a_step_each_event_counts_once() {
    let mut seed = Seed::new();
    let length = Duration::from_secs(if is_drill() { 600 } else { 30 });
    let mut crew = Crew::assemble(kafka().await.bootstrap()).await;
    let client = Client::new(&crew.bootstrap, BTreeMap::new());
    let mut fed = Fed::new(&client, &crew.app);
    let end = Instant::now() + length;
    let mut next = Instant::now();
    while Instant::now() < end {
        fed.submit().await;
        // A steady stream; as fast as possible, ten minutes of it would take as long again to read.
        tokio::time::sleep(PACE).await;
        if Instant::now() >= next {
            crew.suffer(&mut seed);
            next = Instant::now() + Duration::from_millis(200 + seed.below(2000));
        }
    }
    crew.recover().await;
    crew.wait_until_passed(&client).await;
    println!("{} submissions", fed.ids.len());
    fed.assert_enriched(&read(&client, &format!("{}.enriched", crew.app)));
    fed.assert_counted(&read(&client, &format!("{}.counts", crew.app)));
}

// === impl Crew ===

impl Crew {
    async fn assemble(bootstrap: &str) -> Self {
        let app = unique("student-data");
        let folder = tempfile::tempdir().unwrap();
        copy_app(
            &repository().join("apps/student-data"),
            &folder.path().join("app"),
            &app,
        );
        let member = |n| Member {
            name: format!("member-{n}"),
            process: None,
            frozen_until: None,
        };
        let crew = Self {
            app,
            folder,
            bootstrap: bootstrap.to_owned(),
            members: (0..MEMBERS).map(member).collect(),
        };
        let client = Client::new(bootstrap, BTreeMap::new());
        topic::apply(&client, &crew.load().topics).await.unwrap();
        crew
    }

    fn load(&self) -> Arc<App> {
        let folders = [self.folder.path().join("app")];
        let mut apps = app::load(&folders, &UnknownPlugins, &app::process_environment).unwrap();
        let mut app = apps.remove(0);
        let known = Arc::get_mut(&mut app).unwrap();
        // Without plug-ins nobody knows which steps keep state.
        known.topics.push(topic::Topic {
            name: topic::state(&self.app, "analytics"),
            partitions: topic::DEFAULT_PARTITIONS,
            config: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
        });
        app
    }

    /// Something happens to one of the processes.
    fn suffer(&mut self, seed: &mut Seed) {
        let now = Instant::now();
        for member in &mut self.members {
            member.thaw(now);
        }
        let index = usize::try_from(seed.below(MEMBERS as u64)).unwrap();
        let freeze = Duration::from_millis(500 + seed.below(FREEZE_SECONDS * 1000));
        let is_up = self.members[index].process.is_some();
        match (is_up, seed.below(4)) {
            (false, _) => self.start(index),
            (true, 0) => self.members[index].freeze(now + freeze),
            (true, 1) => self.members[index].kill(),
            (true, 2) => {
                self.members[index].kill();
                self.start(index);
            }
            (true, _) => self.members[index].ask_to_stop(),
        }
    }

    fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        let admin = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command
            .args(["process", "--admin", &admin, "--bootstrap", &self.bootstrap])
            .args(["--step", "enrich", "--step", "analytics"])
            .arg("--app")
            .arg(self.folder.path().join("app"))
            .arg("--data")
            .arg(self.folder.path().join(&member.name))
            .arg("--plugins")
            .arg(plugins_dir())
            .env("FORMLINE_INSTANCE", &member.name);
        member.process = Some(Process::spawn(&mut command));
    }

    /// All go on, and those that have stopped are started again.
    async fn recover(&mut self) {
        for index in 0..MEMBERS {
            let member = &mut self.members[index];
            member.thaw(Instant::now() + Duration::from_secs(3600));
            let ended = member
                .process
                .as_mut()
                .is_none_or(|process| process.ended().is_some());
            if ended {
                self.start(index);
            }
        }
    }

    /// Waits until both groups have committed the end of the form's topic.
    async fn wait_until_passed(&mut self, client: &Client) {
        let app = self.load();
        for step in app.steps.iter().filter(|step| step.name != "rows") {
            let progress = Progress::open(client, vec![step.stage()]).unwrap();
            let ends = progress.ends_to_pass(0).unwrap();
            eventually(PATIENCE, async || progress.has_passed(0, &ends).unwrap()).await;
        }
        self.members.iter_mut().for_each(Member::check);
    }
}

// === impl Member ===

impl Member {
    fn freeze(&mut self, until: Instant) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::SIGSTOP);
            self.frozen_until = Some(until);
        }
    }

    fn thaw(&mut self, now: Instant) {
        if self.frozen_until.take_if(|until| *until <= now).is_some()
            && let Some(process) = &mut self.process
        {
            process.signal(Signal::SIGCONT);
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
        self.frozen_until = None;
    }

    /// As an operator or Kubernetes does; it may be frozen and hear of it later.
    fn ask_to_stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::SIGTERM);
            if process.ended().is_some() {
                self.process = None;
            }
        }
    }

    /// A process that ends by itself has failed in a way that an operator has to mend: none of that happens here.
    fn check(&mut self) {
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()
        {
            assert!(status.success(), "{}: {}", self.name, process.log());
        }
    }
}

// === impl Fed ===

impl Fed {
    fn new(client: &Client, app: &str) -> Self {
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(20),
            queue_messages: 1000,
            queue_kib: 4096,
        };
        Self {
            producer: Producer::open(client, options).unwrap(),
            topic: app.to_owned(),
            form: app.to_owned(),
            ids: BTreeSet::new(),
            by_key: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Submits the next student, as ingest would.
    async fn submit(&mut self) {
        let (id, time) = (EventId::new(), Timestamp::now());
        let roll = self.ids.len() % KEYS;
        let (key, value) = (roll.to_string(), student(roll).to_string());
        let submission = Submission {
            id,
            time,
            form: &self.form,
            subject: Some(&key),
            schema: "/v1/forms/students/schema",
            trace_parent: None,
            fingerprint: None,
        };
        let record = Outgoing {
            topic: &self.topic,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: submission.headers(),
            timestamp_ms: None,
        };
        let delivery = self.producer.send(record).await.unwrap();
        let minute = time.strftime("%Y-%m-%dT%H:%M:00Z");
        let counted = format!("{}/{minute}/{}", self.form, delivery.partition);
        *self.counts.entry(counted).or_default() += 1;
        self.ids.insert(id.to_string());
        self.by_key.entry(key).or_default().push(id.to_string());
    }

    /// Each submission has come out once, and those of one key in their order.
    fn assert_enriched(&self, records: &[Record]) {
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in records {
            let key = String::from_utf8(record.key().unwrap().to_vec()).unwrap();
            let origin = record.text_header(header::ORIGIN).unwrap().to_owned();
            by_key.entry(key).or_default().push(origin);
        }
        let ids: BTreeSet<_> = by_key.values().flatten().cloned().collect();
        let lost: Vec<_> = self.ids.difference(&ids).collect();
        assert!(
            lost.is_empty(),
            "{} lost, such as {:?}",
            lost.len(),
            lost[0]
        );
        assert_eq!(records.len(), self.ids.len(), "events have counted twice");
        assert!(by_key == self.by_key, "the order of a key is broken");
    }

    /// The last count of each key is what a recomputation gives: the state was neither lost nor taken twice.
    fn assert_counted(&self, records: &[Record]) {
        let mut last = BTreeMap::new();
        for record in records {
            let count: Value = serde_json::from_slice(record.value().unwrap()).unwrap();
            let key = String::from_utf8(record.key().unwrap().to_vec()).unwrap();
            last.insert(key, count["submissions"].as_u64().unwrap());
        }
        assert_eq!(last, self.counts);
    }
}

pub(super) fn read(client: &Client, topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut reader = Reader::open(client, topic, &[], From::Beginning).unwrap();
    reader
        .read_to_end(|| true, |record| records.push(record))
        .unwrap();
    records
}
