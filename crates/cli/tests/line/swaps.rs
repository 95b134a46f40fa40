//! Two steps in a row change their plug-ins again and again while events stream through them: each event comes out once,
//! made by one version, in the order of its key; and the process does not grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use formline_core::{
    Client, EventId, Producer, Record,
    app::{self, UnknownPlugins},
    event::{Submission, header},
    producer,
    reader::{From, Reader},
    record::{Outgoing, Partition},
    topic,
};
use formline_testing::{Process, eventually, free_port, kafka, plugins_dir, unique};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::vocabulary::{PATIENCE, copy_app, is_drill, repository, student};

/// A process that runs the two steps, and the folder whose plug-ins it follows.
struct Chain {
    app: String,
    folder: TempDir,
    client: Client,
    process: Process,
}

/// Reads what a step sends while it sends it.
struct Tail {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What came out of a step so far.
#[derive(Default)]
struct Seen {
    /// Events of each key.
    passed: BTreeMap<String, usize>,
    /// Events of each version of the plug-in.
    versions: BTreeMap<String, usize>,
    /// The version that made the newest record of a partition, and how often it has changed.
    newest: BTreeMap<Partition, (String, usize)>,
}

const STEPS: [&str; 2] = ["enrich", "rows"];

/// Each key is somebody who submits so often: 2,000 events a second together.
const KEYS: usize = 200;
const PACE: Duration = Duration::from_millis(100);

/// How long the process is frozen at first. It stays a member of its groups.
const STALL: Duration = Duration::from_secs(5);

/// Events that are submitted meanwhile: 2,000 a second.
const BACKLOG: usize = 10_000;

/// What the process may grow by, in percent: the allocator and Kafka's buffers breathe by less.
const GROWTH: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn plug_ins_are_swapped_under_load_and_each_event_is_made_by_one_version() {
    // The memory is looked at after each part of the swaps.
    let (swaps, part) = if is_drill() { (1000, 100) } else { (40, 20) };
    let mut chain = Chain::start(kafka().await.bootstrap()).await;
    let tails = STEPS.map(|step| chain.tail(step));
    let stop = Arc::new(AtomicBool::new(false));
    let (begun, submitting) = (Instant::now(), chain.submit_until(&stop));
    chain.stall(&tails).await;
    let mut resident = BTreeMap::from([(0, chain.resident_kib())]);
    for swap in 1..=swaps {
        chain.swap(swap, &tails).await;
        if swap % part == 0 {
            resident.insert(swap, chain.resident_kib());
        }
    }
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let sent: BTreeMap<_, _> = submitting.join_all().await.into_iter().collect();
    let events: usize = sent.values().sum();
    let rate = events as u128 * 1000 / took.as_millis();
    println!("{swaps} swaps of each step in {took:?}, {events} events, {rate} a second");
    println!("resident KiB after so many swaps: {resident:?}");
    for tail in &tails {
        tail.wait_for(events).await;
    }
    // Whatever it would do twice it has done when it has ended.
    let status = chain.process.terminate().await;
    assert!(status.success(), "{}", chain.process.log());
    for tail in tails {
        tail.end().assert_passed(&sent, swaps);
    }
    let (first, last) = (resident[&part], resident[&swaps]);
    assert!(
        last * 100 <= first * (100 + GROWTH),
        "{first} KiB grew to {last}"
    );
}

// === impl Chain ===

impl Chain {
    async fn start(bootstrap: &str) -> Self {
        let (app, folder) = (unique("student-data"), tempfile::tempdir().unwrap());
        let copied = folder.path().join("app");
        copy_app(&repository().join("apps/student-data"), &copied, &app);
        let loaded = app::load(&[copied], &UnknownPlugins, &app::process_environment).unwrap();
        let client = Client::new(bootstrap, BTreeMap::new());
        topic::apply(&client, &loaded[0].topics).await.unwrap();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        // The app names a third one, which does not run here.
        for name in ["enrich", "rows", "analytics"] {
            drop_file(&plugins, name, 0);
        }
        let admin = format!("127.0.0.1:{}", free_port());
        let process = spawn(folder.path(), bootstrap, &admin);
        let mut chain = Self {
            app,
            folder,
            client,
            process,
        };
        chain.process.wait_ready(&admin).await;
        chain
    }

    fn tail(&self, step: &str) -> Tail {
        let output = if step == "enrich" { "enriched" } else { step };
        let topic = format!("{}.{output}", self.app);
        Tail::begin(
            self.app.clone(),
            Reader::open(&self.client, &topic, &[], From::Beginning).unwrap(),
        )
    }

    /// Lets every key submit one event after the other, and say in the end how many.
    fn submit_until(&self, stop: &Arc<AtomicBool>) -> JoinSet<(String, usize)> {
        let options = producer::Options {
            delivery_timeout: Duration::from_secs(20),
            queue_messages: 10_000,
            queue_kib: 65_536,
        };
        let producer = Arc::new(Producer::open(&self.client, options).unwrap());
        let keys = (0..KEYS).map(|key| {
            let (producer, stop, form) =
                (Arc::clone(&producer), Arc::clone(stop), self.app.clone());
            async move {
                let (mut due, mut sent) = (interval(PACE), 0);
                // Whoever was late catches up: the load is a rate, not a pause.
                due.set_missed_tick_behavior(MissedTickBehavior::Burst);
                while !stop.load(Ordering::Relaxed) {
                    due.tick().await;
                    submit(&producer, &form, key, sent).await;
                    sent += 1;
                }
                (key.to_string(), sent)
            }
        });
        keys.collect()
    }

    /// Freezes the process for a while, and waits until it has caught up. Memory follows the largest backlog there ever
    /// was, and a busy machine makes one at any time: so the largest comes first.
    async fn stall(&mut self, [_, last]: &[Tail; 2]) {
        last.wait_for(1).await;
        self.process.signal(Signal::SIGSTOP);
        tokio::time::sleep(STALL).await;
        self.process.signal(Signal::SIGCONT);
        // What was sent meanwhile, and as much again.
        last.wait_for(2 * BACKLOG).await;
    }

    /// Puts the other version of both plug-ins into the folder, and waits until all that comes out is made by them.
    async fn swap(&mut self, swap: usize, tails: &[Tail; 2]) {
        let [first, second] = tails;
        let before = [first.version().await, second.version().await];
        for step in STEPS {
            drop_file(&self.folder.path().join("plugins"), step, swap % 2);
        }
        for (tail, before) in tails.iter().zip(before) {
            eventually(PATIENCE, async || tail.version().await != before).await;
        }
        assert!(self.process.ended().is_none(), "{}", self.process.log());
    }

    /// Memory of the process. The load and its readers are elsewhere: here.
    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

fn spawn(folder: &Path, bootstrap: &str, admin: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
    command
        .args(["process", "--admin", admin, "--bootstrap", bootstrap])
        .args(STEPS.map(|step| ["--step", step]).concat())
        .arg("--app")
        .arg(folder.join("app"))
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--plugins")
        .arg(folder.join("plugins"))
        .env("FORMLINE_INSTANCE", "chain");
    Process::spawn(&mut command)
}

/// Drops one of the versions of a plug-in: they differ by bytes that nobody reads, and so by their digest.
fn drop_file(plugins: &Path, name: &str, version: usize) {
    let file = format!("{name}.wasm");
    let mut wasm = fs::read(plugins_dir().join(&file)).unwrap();
    // A custom section: id 0, size, and a name of one byte.
    wasm.extend([0, 2, 1, b"ab"[version]]);
    let unfinished = plugins.join(".unfinished");
    fs::write(&unfinished, wasm).unwrap();
    fs::rename(unfinished, plugins.join(file)).unwrap();
}

/// Submits the `n`th event of a key, as ingest would.
async fn submit(producer: &Producer, form: &str, key: usize, n: usize) {
    let (value, key) = (student(key).to_string(), key.to_string());
    let submission = Submission {
        id: nth(form, &key, n),
        time: Timestamp::now(),
        form,
        subject: Some(&key),
        schema: "/v1/forms/students/schema",
        trace_parent: None,
        fingerprint: None,
    };
    let record = Outgoing {
        topic: form,
        partition: None,
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        headers: submission.headers(),
        timestamp_ms: None,
    };
    producer.send(record).await.unwrap();
}

/// The id of the `n`th event of a key, which a reader can tell as well.
fn nth(form: &str, key: &str, n: usize) -> EventId {
    EventId::keyed(form, &format!("{key} {n}"))
}

// === impl Tail ===

impl Tail {
    fn begin(form: String, mut reader: Reader) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (shared, asked) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            loop {
                match reader.next(Duration::from_millis(100)).unwrap() {
                    Some(record) => shared.lock().unwrap().note(&form, &record),
                    None if asked.load(Ordering::Relaxed) => return,
                    None => {}
                }
            }
        });
        Self { seen, stop, thread }
    }

    /// The version that made the newest record of every partition, once they agree.
    async fn version(&self) -> String {
        eventually(PATIENCE, async || {
            // Poisoned: the reader found a broken promise, and its panic says which.
            let seen = self.seen.lock().unwrap();
            let versions: BTreeSet<_> = seen.newest.values().map(|(version, _)| version).collect();
            let newest = versions.first().filter(|_| versions.len() == 1);
            newest.map(|version| (*version).clone())
        })
        .await
    }

    async fn wait_for(&self, events: usize) {
        eventually(PATIENCE, async || {
            let passed: usize = self.seen.lock().unwrap().passed.values().sum();
            if passed >= events {
                Ok(())
            } else {
                Err(passed)
            }
        })
        .await;
    }

    fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        mem::take(&mut self.seen.lock().unwrap())
    }
}

// === impl Seen ===

impl Seen {
    /// The next event of its key, or something was lost, doubled or overtaken.
    fn note(&mut self, form: &str, record: &Record) {
        // A row has the key of its sheet.
        let key = record.text_header(header::SUBJECT).unwrap().to_owned();
        let passed = self.passed.entry(key.clone()).or_default();
        let expected = nth(form, &key, *passed).to_string();
        let origin = record.text_header(header::ORIGIN).unwrap();
        assert_eq!(
            origin, expected,
            "event {passed} of key {key} at {record:?}"
        );
        *passed += 1;
        let version = record.text_header(header::PLUGIN).unwrap().to_owned();
        *self.versions.entry(version.clone()).or_default() += 1;
        let newest = self.newest.entry(record.partition.clone());
        let (newest, changes) = newest.or_insert_with(|| (version.clone(), 0));
        if *newest != version {
            (*newest, *changes) = (version, *changes + 1);
        }
    }

    /// Everything that was sent has come out, of the two versions in turn.
    fn assert_passed(&self, sent: &BTreeMap<String, usize>, swaps: usize) {
        assert_eq!(&self.passed, sent);
        assert_eq!(self.versions.len(), 2, "{:?}", self.versions);
        for (partition, (_, changes)) in &self.newest {
            assert_eq!(*changes, swaps, "changes on {partition:?}");
        }
    }
}
