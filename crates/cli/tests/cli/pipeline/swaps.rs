//! The plug-ins of two consecutive steps are swapped again and again under load. Each event comes
//! out once, processed by one version, in the order of its key, and the memory of the process does
//! not grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use formline_core::{
    Client, EventId, Record,
    app::{self, UnknownPlugins},
    event::header,
    kafka::{
        reader::{Reader, StartOffset},
        record::Partition,
        topic,
    },
};
use formline_testing::{Process, eventually, free_port, kafka, plugins_dir, unique};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::support::{
    DEADLINE, TestSubmission, client, copy_student_data, formline, is_drill, producer, student,
};

/// A process that runs two consecutive steps, and its plug-in folder.
struct Chain {
    app: String,
    folder: TempDir,
    client: Client,
    process: Process,
    /// Number of events that were submitted so far.
    submitted: Arc<AtomicUsize>,
}

/// Reads the output of a step continuously.
struct OutputReader {
    seen: Arc<Mutex<SeenOutput>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The output of a step so far.
#[derive(Default)]
struct SeenOutput {
    /// Number of events per key.
    passed: BTreeMap<String, usize>,
    /// Number of events per version of the plug-in.
    versions: BTreeMap<String, usize>,
    /// The version of the latest record of each partition, and how often it has changed.
    latest: BTreeMap<Partition, (String, usize)>,
}

const STEPS: [&str; 2] = ["enrich", "rows"];

/// Each key submits an event per interval: 2,000 events per second in total.
const KEYS: usize = 200;
const PACE: Duration = Duration::from_millis(100);

/// Events that are submitted while the process is frozen at first, which takes 5 s. It stays a
/// member of its groups.
const BACKLOG: usize = 10_000;

/// Maximum growth of the process in percent. The allocator and the buffers of the client fluctuate
/// by less.
const GROWTH: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn plug_ins_are_swapped_under_load_and_each_event_is_processed_by_one_version() {
    // The memory is measured after each part of the swaps.
    let (swaps, part) = if is_drill() { (1000, 100) } else { (40, 20) };
    let mut chain = Chain::start(kafka().await.bootstrap()).await;
    let outputs = STEPS.map(|step| chain.read_output(step));
    let stop = Arc::new(AtomicBool::new(false));
    let (start, submitting) = (Instant::now(), chain.submit_until(&stop));
    chain.freeze_for_backlog(&outputs).await;
    let mut resident = BTreeMap::from([(0, chain.resident_kib())]);
    for swap in 1..=swaps {
        chain.swap(swap, &outputs).await;
        if swap % part == 0 {
            resident.insert(swap, chain.resident_kib());
        }
    }
    let duration = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let sent: BTreeMap<_, _> = submitting.join_all().await.into_iter().collect();
    let events: usize = sent.values().sum();
    let rate = events as u128 * 1000 / duration.as_millis();
    println!("{swaps} swaps of each step in {duration:?}, {events} events, {rate} per second");
    println!("resident KiB by number of swaps: {resident:?}");
    for output in &outputs {
        output.wait_for(events).await;
    }
    // Once it has ended, it cannot process anything twice any more.
    let status = chain.process.terminate().await;
    assert!(status.success(), "{}", chain.process.log());
    for output in outputs {
        output.stop().assert_passed(&sent, swaps);
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
        let app_folder = folder.path().join("app");
        copy_student_data(&app_folder, &app);
        let loaded = app::load(&[app_folder], &UnknownPlugins, &app::process_environment).unwrap();
        let client = client(bootstrap);
        topic::apply(&client, &loaded[0].topics).await.unwrap();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        // The app names the third plug-in, whose step does not run here.
        for name in ["enrich", "rows", "analytics"] {
            write_version(&plugins, name, 0);
        }
        let admin = format!("127.0.0.1:{}", free_port());
        let process = spawn(folder.path(), bootstrap, &admin);
        let mut chain = Self {
            app,
            folder,
            client,
            process,
            submitted: Arc::default(),
        };
        chain.process.wait_ready(&admin).await;
        chain
    }

    fn read_output(&self, step: &str) -> OutputReader {
        let output = if step == "enrich" { "enriched" } else { step };
        let topic = format!("{}.{output}", self.app);
        OutputReader::start(
            self.app.clone(),
            Reader::open(&self.client, &topic, &[], StartOffset::Beginning).unwrap(),
        )
    }

    /// Lets every key submit one event after the other. Each task returns its key and the number of
    /// its events.
    fn submit_until(&self, stop: &Arc<AtomicBool>) -> JoinSet<(String, usize)> {
        let producer = Arc::new(producer(&self.client));
        let keys = (0..KEYS).map(|key| {
            let (producer, stop) = (Arc::clone(&producer), Arc::clone(stop));
            let (submitted, form) = (Arc::clone(&self.submitted), self.app.clone());
            async move {
                let (mut ticks, mut sent) = (interval(PACE), 0);
                let (value, key) = (student(key).to_string(), key.to_string());
                // The load is a rate: a late event does not delay the following ones.
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let submission = TestSubmission {
                        id: nth_id(&form, &key, sent),
                        ..TestSubmission::new(&form, &key, &value)
                    };
                    submission.send(&producer).await;
                    submitted.fetch_add(1, Ordering::Relaxed);
                    sent += 1;
                }
                (key, sent)
            }
        });
        keys.collect()
    }

    /// Freezes the process until there is a backlog, and waits until it has caught up. Memory
    /// follows the largest backlog so far, and a busy machine may cause one at any time: so the
    /// largest is caused first.
    async fn freeze_for_backlog(&mut self, [_, last]: &[OutputReader; 2]) {
        last.wait_for(1).await;
        self.process.signal(Signal::SIGSTOP);
        let thaw_at = self.submitted.load(Ordering::Relaxed) + BACKLOG;
        eventually(DEADLINE, async || {
            let submitted = self.submitted.load(Ordering::Relaxed);
            if submitted >= thaw_at {
                Ok(())
            } else {
                Err(submitted)
            }
        })
        .await;
        self.process.signal(Signal::SIGCONT);
        // The backlog, and as much again.
        last.wait_for(2 * BACKLOG).await;
    }

    /// Replaces both plug-ins by their other version, and waits until all outputs are from the new
    /// ones.
    async fn swap(&mut self, swap: usize, outputs: &[OutputReader; 2]) {
        let [first, second] = outputs;
        let before = [first.version().await, second.version().await];
        for step in STEPS {
            write_version(&self.folder.path().join("plugins"), step, swap % 2);
        }
        for (output, before) in outputs.iter().zip(before) {
            eventually(DEADLINE, async || output.version().await != before).await;
        }
        assert!(self.process.ended().is_none(), "{}", self.process.log());
    }

    /// Resident memory of the process. The load and the readers are in the process of the test.
    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

fn spawn(folder: &Path, bootstrap: &str, admin: &str) -> Process {
    let mut command = formline();
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

/// Writes a version of a plug-in into the folder. The versions differ only in a custom section, and
/// so in their digest.
fn write_version(plugins: &Path, name: &str, version: usize) {
    let file = format!("{name}.wasm");
    let mut wasm = fs::read(plugins_dir().join(&file)).unwrap();
    // A custom section: id 0, size, and a name of one byte.
    wasm.extend([0, 2, 1, b"ab"[version]]);
    let unfinished = plugins.join(".unfinished");
    fs::write(&unfinished, wasm).unwrap();
    fs::rename(unfinished, plugins.join(file)).unwrap();
}

/// The id of the `n`th event of a key, which the reader can compute as well.
fn nth_id(form: &str, key: &str, n: usize) -> EventId {
    EventId::keyed(form, &format!("{key} {n}"))
}

// === impl OutputReader ===

impl OutputReader {
    fn start(form: String, mut reader: Reader) -> Self {
        let seen = Arc::<Mutex<SeenOutput>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (shared, is_stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            loop {
                match reader.next(Duration::from_millis(100)).unwrap() {
                    Some(record) => shared.lock().unwrap().add(&form, &record),
                    None if is_stopped.load(Ordering::Relaxed) => return,
                    None => {}
                }
            }
        });
        Self { seen, stop, thread }
    }

    /// The version of the latest record of every partition, once all partitions agree.
    async fn version(&self) -> String {
        eventually(DEADLINE, async || {
            // Poisoned if the assertions of the reader have failed; its panic message says which.
            let seen = self.seen.lock().unwrap();
            let versions: BTreeSet<_> = seen.latest.values().map(|(version, _)| version).collect();
            let latest = versions.first().filter(|_| versions.len() == 1);
            latest.map(|version| (*version).clone())
        })
        .await
    }

    /// Waits until this number of events has come out.
    async fn wait_for(&self, events: usize) {
        eventually(DEADLINE, async || {
            let passed: usize = self.seen.lock().unwrap().passed.values().sum();
            if passed >= events {
                Ok(())
            } else {
                Err(passed)
            }
        })
        .await;
    }

    /// Reads to the end of the topic.
    fn stop(self) -> SeenOutput {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        mem::take(&mut self.seen.lock().unwrap())
    }
}

// === impl SeenOutput ===

impl SeenOutput {
    /// Adds a record, which must be the next event of its key: otherwise an event was lost,
    /// duplicated or reordered.
    fn add(&mut self, form: &str, record: &Record) {
        // The key of a row is that of its sheet; the subject is the key of the submission.
        let key = record.text_header(header::SUBJECT).unwrap().to_owned();
        let passed = self.passed.entry(key.clone()).or_default();
        let expected = nth_id(form, &key, *passed).to_string();
        let origin = record.text_header(header::ORIGIN).unwrap();
        assert_eq!(
            origin, expected,
            "event {passed} of key {key} at {record:?}"
        );
        *passed += 1;
        let version = record.text_header(header::PLUGIN).unwrap().to_owned();
        *self.versions.entry(version.clone()).or_default() += 1;
        let latest = self.latest.entry(record.partition.clone());
        let (latest, changes) = latest.or_insert_with(|| (version.clone(), 0));
        if *latest != version {
            (*latest, *changes) = (version, *changes + 1);
        }
    }

    /// Asserts that all events have come out, of the two versions alternately.
    fn assert_passed(&self, sent: &BTreeMap<String, usize>, swaps: usize) {
        assert_eq!(&self.passed, sent);
        assert_eq!(self.versions.len(), 2, "{:?}", self.versions);
        for (partition, (_, changes)) in &self.latest {
            assert_eq!(*changes, swaps, "changes on {partition:?}");
        }
    }
}
