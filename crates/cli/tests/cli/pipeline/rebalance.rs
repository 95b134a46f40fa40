//! The processes of two steps are started, stopped, killed and frozen at random. The outputs then
//! show that each event was counted once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use formline_core::{
    App, Client, Producer, Record,
    app::{self, UnknownPlugins},
    event::header,
    kafka::{group_progress::GroupProgress, topic},
};
use formline_testing::{Process, eventually, free_port, kafka, plugins_dir, unique};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::{
    DEADLINE, Seed, TestSubmission, client, copy_student_data, formline, is_drill, producer,
    read_all, student,
};

/// Processes that share the partitions of two steps.
struct Group {
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

/// The submissions, and the outputs that they must have.
struct Expected {
    producer: Producer,
    form: String,
    ids: BTreeSet<String>,
    /// Ids of each key, in order.
    by_key: BTreeMap<String, Vec<String>>,
    /// Counts of the step `analytics`, by form, minute and partition.
    counts: BTreeMap<String, u64>,
}

const MEMBERS: usize = 4;

/// Few keys, so that each has many events whose order could be wrong.
const KEYS: usize = 40;

/// Interval between two submissions. As fast as possible, the drill would take as long again to
/// read its outputs.
const PACE: Duration = Duration::from_millis(2);

/// Longer than the session timeout: the group removes the member, which notices only when it
/// resumes.
const MAX_FREEZE_SECONDS: u64 = 14;

#[tokio::test(flavor = "multi_thread")]
async fn under_random_failures_of_its_processes_a_step_counts_each_event_once() {
    let mut seed = Seed::new();
    let length = Duration::from_secs(if is_drill() { 600 } else { 30 });
    let mut group = Group::new(kafka().await.bootstrap()).await;
    let client = client(&group.bootstrap);
    let mut expected = Expected::new(&client, &group.app);
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + length;
    let mut next = Instant::now();
    while Instant::now() < end {
        ticks.tick().await;
        expected.submit().await;
        if Instant::now() >= next {
            group.fail(&mut seed);
            next = Instant::now() + Duration::from_millis(200 + seed.below(2000));
        }
    }
    group.recover();
    group.wait_until_passed(&client).await;
    println!("{} submissions", expected.ids.len());
    expected.assert_enriched(&read_all(&client, &format!("{}.enriched", group.app)));
    expected.assert_counted(&read_all(&client, &format!("{}.counts", group.app)));
}

// === impl Group ===

impl Group {
    async fn new(bootstrap: &str) -> Self {
        let (app, folder) = (unique("student-data"), tempfile::tempdir().unwrap());
        copy_student_data(&folder.path().join("app"), &app);
        let member = |n| Member {
            name: format!("member-{n}"),
            process: None,
            frozen_until: None,
        };
        let group = Self {
            app,
            folder,
            bootstrap: bootstrap.to_owned(),
            members: (0..MEMBERS).map(member).collect(),
        };
        let topics = &group.load_app().topics;
        topic::apply(&client(bootstrap), topics).await.unwrap();
        group
    }

    fn load_app(&self) -> Arc<App> {
        let folders = [self.folder.path().join("app")];
        let mut apps = app::load(&folders, &UnknownPlugins, &app::process_environment).unwrap();
        let mut app = apps.remove(0);
        let known = Arc::get_mut(&mut app).unwrap();
        // Loaded without plug-ins, the app does not know that the step has state.
        known.topics.push(topic::Topic {
            name: topic::state(&self.app, "analytics"),
            partitions: topic::DEFAULT_PARTITIONS,
            config: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
        });
        app
    }

    /// Starts, stops, kills, restarts or freezes one of the processes.
    fn fail(&mut self, seed: &mut Seed) {
        let now = Instant::now();
        for member in &mut self.members {
            member.resume(now);
        }
        let index = seed.index(MEMBERS);
        let freeze = Duration::from_millis(500 + seed.below(MAX_FREEZE_SECONDS * 1000));
        let is_up = self.members[index].process.is_some();
        match (is_up, seed.below(4)) {
            (false, _) => self.start(index),
            (true, 0) => self.members[index].freeze(now + freeze),
            (true, 1) => self.members[index].kill(),
            (true, 2) => {
                self.members[index].kill();
                self.start(index);
            }
            (true, _) => self.members[index].stop(),
        }
    }

    fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        let admin = format!("127.0.0.1:{}", free_port());
        let mut command = formline();
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

    /// Resumes the frozen processes, and starts those that have ended.
    fn recover(&mut self) {
        for index in 0..MEMBERS {
            let member = &mut self.members[index];
            member.resume(Instant::now() + Duration::from_secs(3600));
            let ended = member
                .process
                .as_mut()
                .is_none_or(|process| process.ended().is_some());
            if ended {
                self.start(index);
            }
        }
    }

    /// Waits until both consumer groups have committed the end of the topic of the form.
    async fn wait_until_passed(&mut self, client: &Client) {
        let app = self.load_app();
        for step in app.steps.iter().filter(|step| step.name != "rows") {
            let progress = GroupProgress::open(client, vec![step.stage()]).unwrap();
            let ends = progress.ends_to_pass(0).unwrap();
            eventually(DEADLINE, async || progress.has_passed(0, &ends).unwrap()).await;
        }
        self.members.iter_mut().for_each(Member::assert_not_failed);
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

    /// Resumes the process if its freeze has ended.
    fn resume(&mut self, now: Instant) {
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

    /// Sends SIGTERM, as an operator or Kubernetes does. A frozen process receives it when it
    /// resumes.
    fn stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::SIGTERM);
            if process.ended().is_some() {
                self.process = None;
            }
        }
    }

    /// Asserts that the process has not ended with an error, which would need an operator.
    fn assert_not_failed(&mut self) {
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()
        {
            assert!(status.success(), "{}: {}", self.name, process.log());
        }
    }
}

// === impl Expected ===

impl Expected {
    fn new(client: &Client, app: &str) -> Self {
        Self {
            producer: producer(client),
            form: app.to_owned(),
            ids: BTreeSet::new(),
            by_key: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Writes the next submission.
    async fn submit(&mut self) {
        let roll = self.ids.len() % KEYS;
        let (key, value) = (roll.to_string(), student(roll).to_string());
        let submission = TestSubmission::new(&self.form, &key, &value);
        let (id, time) = (submission.id, submission.time);
        let partition = submission.send(&self.producer).await;
        let minute = time.strftime("%Y-%m-%dT%H:%M:00Z");
        let counted = format!("{}/{minute}/{partition}", self.form);
        *self.counts.entry(counted).or_default() += 1;
        self.ids.insert(id.to_string());
        self.by_key.entry(key).or_default().push(id.to_string());
    }

    /// Asserts that each submission has come out once, and those of one key in order.
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
        assert_eq!(records.len(), self.ids.len(), "duplicate events");
        assert!(by_key == self.by_key, "events of a key are reordered");
    }

    /// Asserts that the latest count of each key is the expected one: no state was lost or applied
    /// twice.
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
