//! Tests of the stores with a real file: what plug-ins see, what is rolled back, and what a restart
//! finds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use formline_core::{
    EventId, Record,
    event::{
        dedup::{KeyedSubmission, window_ms},
        header,
    },
    kafka::record::Partition,
};
use jiff::Timestamp;
use tempfile::TempDir;

use super::{Entry, PutError, Savepoint, StoreFailed, Stores, file::StateFile};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// A folder with the file of one partition.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("step/0.redb")
    }

    fn open(&self) -> Stores {
        Stores::open(self.path(), 1 << 20).unwrap()
    }
}

impl Stores {
    fn keep(&mut self, store: &str, key: &str, value: &str) {
        self.put(store, key.as_bytes(), Entry::new(value.into()))
            .unwrap();
    }

    fn keep_until(&mut self, key: &str, end_ms: i64) {
        let entry = Entry {
            value: key.into(),
            expires_ms: Some(end_ms),
        };
        self.put("s", key.as_bytes(), entry).unwrap();
    }

    fn value(&mut self, store: &str, key: &str) -> Option<String> {
        let value = self.get(store, key.as_bytes()).unwrap();
        value.map(|value| String::from_utf8(value).unwrap())
    }

    fn keys(&mut self, store: &str, prefix: &str, after: Option<&str>) -> Vec<String> {
        let after = after.map(str::as_bytes);
        let found = self
            .scan(store, prefix.as_bytes(), after, |_| true)
            .unwrap();
        let keys = found.into_iter().map(|(key, _)| String::from_utf8(key));
        keys.map(Result::unwrap).collect()
    }

    /// As after a transaction that ends at this offset of the changelog.
    fn publish(&mut self, changelog_end: i64) {
        self.begin(Timestamp::now().as_millisecond());
        self.commit(Some(changelog_end));
    }

    fn written(mut self) {
        self.write().unwrap();
    }
}

/// A record of the changelog.
fn logged(generation: EventId, offset: i64, key: &[u8], value: Option<&[u8]>) -> Record {
    let id = generation.to_string();
    let partition = Partition {
        topic: Arc::from("app.step.state"),
        number: 0,
    };
    let headers = [(header::GENERATION, id.as_bytes())];
    Record::new(partition, offset, 0, Some(key), value, &headers)
}

/// A submission with an `Idempotency-Key`.
fn submission(key: &str, offset: i64, timestamp_ms: i64) -> Record {
    let id = EventId::keyed("form", key).to_string();
    let partition = Partition {
        topic: Arc::from("form"),
        number: 0,
    };
    let headers = [
        (header::ID, id.as_bytes()),
        (header::FINGERPRINT, b"abc".as_slice()),
    ];
    Record::new(partition, offset, timestamp_ms, None, Some(b"{}"), &headers)
}

fn is_repetition(stores: &mut Stores, record: &Record) -> bool {
    let keyed = KeyedSubmission::from_record(record).unwrap();
    stores.is_repetition(&keyed, record).unwrap()
}

#[test]
fn a_scan_merges_the_file_and_the_changes() {
    let folder = Folder::new();
    let mut stores = folder.open();
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        stores.keep("one", key, "written");
    }
    stores.keep("onea", "/1", "other store");
    stores.publish(5);
    stores.write().unwrap();
    stores.delete("one", b"a/2").unwrap();
    stores.keep("one", "a/3", "changed");
    stores.keep("one", "a/4", "new");
    assert_eq!(stores.keys("one", "a/", None), ["a/1", "a/3", "a/4"]);
    assert_eq!(stores.keys("one", "a/", Some("a/1")), ["a/3", "a/4"]);
    assert_eq!(stores.keys("one", "b", Some("a")), ["b/1"]);
    assert_eq!(stores.keys("onea", "", None), ["/1"]);
    assert_eq!(stores.value("one", "a/3").as_deref(), Some("changed"));
    assert_eq!(stores.value("one", "a/2"), None);
    let two = |count: &mut u32| {
        *count += 1;
        *count <= 2
    };
    let mut count = 0;
    let found = stores.scan("one", b"", None, |_| two(&mut count)).unwrap();
    assert_eq!(found.len(), 2, "the scan ends when `take` returns false");
}

#[test]
fn changes_are_rolled_back_to_the_savepoint() {
    let folder = Folder::new();
    let mut stores = folder.open();
    stores.keep("s", "a", "1");
    stores.keep("s", "b", "1");
    stores.publish(2);
    stores.write().unwrap();
    stores.keep("s", "b", "2");
    let savepoint = stores.savepoint();
    stores.keep("s", "a", "3");
    stores.keep("s", "c", "3");
    stores.delete("s", b"b").unwrap();
    stores.delete("s", b"not there").unwrap();
    stores.roll_back(savepoint);
    assert_eq!(stores.value("s", "a").as_deref(), Some("1"));
    assert_eq!(stores.value("s", "b").as_deref(), Some("2"));
    assert_eq!(stores.keys("s", "", None), ["a", "b"]);
    assert_eq!(stores.changes().count(), 1);
    stores.roll_back(Savepoint::START);
    assert_eq!(stores.changes().count(), 0);
    assert_eq!(stores.value("s", "b").as_deref(), Some("1"));
}

#[test]
fn the_changelog_contains_each_key_once_and_rebuilds_the_stores() {
    let mut stores = Folder::new().open();
    stores.keep("s", "a", "1");
    stores.keep("s", "a", "2");
    stores.keep("s", "b", "1");
    stores.delete("s", b"b").unwrap();
    stores.begin(0);
    let generation = stores.generation().unwrap();
    let changes = stores.changes().zip(0..);
    let log: Vec<_> = changes
        .map(|(change, offset)| {
            let value = change.entry.map(|entry| entry.value.as_slice());
            logged(generation, offset, change.key, value)
        })
        .collect();
    assert_eq!(log.len(), 2);
    let mut rebuilt = Folder::new().open();
    for record in &log {
        rebuilt.restore(record).unwrap();
    }
    assert_eq!(rebuilt.keys("s", "", None), ["a"]);
    assert_eq!(rebuilt.value("s", "a").as_deref(), Some("2"));
    assert_eq!(rebuilt.generation(), Some(generation));
}

#[test]
fn a_change_names_the_events_that_caused_it() {
    let mut stores = Folder::new().open();
    stores.keep("s", "host", "1");
    for offset in [3, 4, 9] {
        stores.begin_event(&submission("any", offset, 0));
        stores.keep("s", "often", &offset.to_string());
    }
    stores.keep("s", "once", "1");
    let causes: Vec<Vec<String>> = stores
        .changes()
        .map(|change| change.causes.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(
        causes,
        [
            vec![],
            vec!["form@3-4,9".to_owned()],
            vec!["form@9".to_owned()]
        ]
    );
}

#[test]
fn full_stores_accept_replacements_but_no_new_entries() {
    let mut stores = Stores::open(Folder::new().path(), 400).unwrap();
    let entry = || Entry::new(vec![0; 250]);
    stores.put("s", b"key", entry()).unwrap();
    assert_eq!(stores.put("s", b"another", entry()), Err(PutError::Full));
    stores.put("s", b"key", entry()).unwrap();
    stores.delete("s", b"key").unwrap();
    stores.put("s", b"another", entry()).unwrap();
    stores.roll_back(Savepoint::START);
    stores.put("s", b"third", entry()).unwrap();
}

#[test]
fn an_entry_expires_for_events_of_its_expiry_and_later() {
    let folder = Folder::new();
    let mut stores = folder.open();
    stores.set_time(1_000);
    stores.keep_until("short", 2_000);
    stores.keep_until("long", 9_000);
    stores.keep("s", "for good", "1");
    stores.publish(3);
    stores.write().unwrap();
    stores.set_time(1_999);
    assert_eq!(stores.keys("s", "", None), ["for good", "long", "short"]);
    stores.set_time(2_000);
    assert_eq!(stores.value("s", "short"), None);
    assert_eq!(stores.keys("s", "", None), ["for good", "long"]);
    stores.delete_expired(1).unwrap();
    assert_eq!(stores.changes().count(), 0, "a late event may still see it");
    stores.set_time(1_500);
    assert!(stores.value("s", "short").is_some());
    stores.set_time(2_000 + HOUR_MS);
    stores.delete_expired(1).unwrap();
    let deleted: Vec<_> = stores.changes().collect();
    assert!(
        matches!(&deleted[..], [change] if change.entry.is_none() && change.key.ends_with(b"short")),
        "it is deleted from the changelog, too: {deleted:?}"
    );
    stores.publish(4);
    stores.delete_expired(1).unwrap();
    assert_eq!(stores.changes().count(), 0, "it is deleted only once");
}

#[test]
fn an_entry_that_was_stored_again_is_not_deleted() {
    let folder = Folder::new();
    let mut stores = folder.open();
    stores.keep_until("key", 2_000);
    stores.publish(1);
    stores.write().unwrap();
    stores.keep_until("key", 9_000 + HOUR_MS);
    stores.publish(2);
    stores.set_time(3_000 + HOUR_MS);
    stores.delete_expired(1).unwrap();
    assert_eq!(stores.changes().count(), 0);
    assert!(stores.value("s", "key").is_some());
}

#[test]
fn a_restart_reads_only_the_rest_of_the_changelog() {
    let folder = Folder::new();
    let mut stores = folder.open();
    assert_eq!(stores.resume_at(), None);
    stores.keep("s", "a", "1");
    stores.publish(8);
    let generation = stores.generation().unwrap();
    stores.keep("s", "a", "not committed");
    stores.close();

    let mut again = folder.open();
    assert_eq!(again.value("s", "a").as_deref(), Some("1"));
    assert_eq!(
        again.resume_at(),
        Some(7),
        "the last record that the file contains"
    );
    assert!(!again.is_proven());
    again
        .restore(&logged(generation, 7, b"\x01sa", Some(b"1")))
        .unwrap();
    assert!(again.is_proven());
    again
        .restore(&logged(generation, 9, b"\x01sb", Some(b"2")))
        .unwrap();
    assert_eq!(again.keys("s", "", None), ["a", "b"]);
    again.close();
    assert_eq!(folder.open().resume_at(), Some(9));
}

#[test]
fn a_file_of_another_changelog_is_not_proven() {
    let folder = Folder::new();
    let mut stores = folder.open();
    stores.keep("s", "a", "1");
    stores.publish(3);
    stores.written();
    let mut again = folder.open();
    let other = EventId::new();
    again
        .restore(&logged(other, 2, b"\x01sa", Some(b"strange")))
        .unwrap();
    assert!(!again.is_proven());
    assert_eq!(
        again.value("s", "a").as_deref(),
        Some("1"),
        "the two states are not mixed"
    );
    again.forget();
    assert_eq!(again.resume_at(), None);
    assert_eq!(again.value("s", "a"), None);
    again
        .restore(&logged(other, 2, b"\x01sa", Some(b"strange")))
        .unwrap();
    assert_eq!(again.value("s", "a").as_deref(), Some("strange"));
}

#[test]
fn a_file_is_rebuilt_after_half_a_day_and_renewed_while_it_is_in_use() {
    let folder = Folder::new();
    let aged = |hours: i64| {
        let (mut disk, mut coverage) = StateFile::open(&folder.path()).unwrap().unwrap();
        coverage.known_ms -= hours * HOUR_MS;
        disk.write(&BTreeMap::new(), &coverage).unwrap();
    };
    let mut stores = folder.open();
    stores.keep("s", "a", "1");
    stores.publish(1);
    assert!(!stores.is_due());
    stores.written();

    aged(7);
    let mut stores = folder.open();
    assert!(!stores.is_due(), "it is unknown what the file is missing");
    stores.begin(Timestamp::now().as_millisecond() - 7 * HOUR_MS);
    assert!(
        stores.is_due(),
        "the owner of the partition knows that nothing is missing"
    );
    stores.write().unwrap();
    assert!(!stores.is_due());
    drop(stores);

    aged(-1);
    assert_eq!(folder.open().value("s", "a"), None, "the clock was wrong");

    let mut stores = folder.open();
    stores.keep("s", "a", "1");
    stores.publish(1);
    stores.written();
    aged(13);
    assert_eq!(folder.open().value("s", "a"), None);
}

#[test]
fn a_changelog_that_has_lost_its_end_is_not_proven() {
    let folder = Folder::new();
    let mut stores = folder.open();
    stores.keep("s", "a", "lost");
    stores.publish(8);
    let generation = stores.generation().unwrap();
    stores.written();
    let mut again = folder.open();
    for offset in 0..7 {
        let record = logged(generation, offset, b"\x01sa", Some(b"early"));
        again.restore(&record).unwrap();
    }
    assert!(!again.is_proven());
}

#[test]
fn the_stores_record_the_offsets_of_their_inputs() {
    let folder = Folder::new();
    let mut stores = folder.open();
    assert_eq!(stores.input("in"), Ok(None));
    stores.keep("s", "a", "1");
    stores.set_input("in", 17);
    assert!(stores.has_changes());
    stores.publish(2);
    stores.close();
    assert_eq!(folder.open().input("in"), Ok(Some(17)));
}

#[test]
fn an_unusable_file_is_rebuilt() {
    let folder = Folder::new();
    let mut stores = folder.open();
    stores.keep("s", "a", "1");
    stores.publish(1);
    stores.written();
    fs::write(folder.path(), b"not a database").unwrap();
    assert_eq!(folder.open().value("s", "a"), None);
    assert!(!folder.path().exists());
}

#[test]
fn a_corrupt_page_fails_and_the_file_is_deleted() {
    let folder = Folder::new();
    let mut stores = Stores::open(folder.path(), 1 << 30).unwrap();
    for key in 0..2_000_u32 {
        let entry = Entry::new(vec![b'x'; 1_000]);
        stores.put("s", &key.to_be_bytes(), entry).unwrap();
    }
    stores.publish(1);
    stores.written();
    // Every page after the first, which contains the positions of the others.
    let mut bytes = fs::read(folder.path()).unwrap();
    bytes[4096..].fill(0xff);
    fs::write(folder.path(), bytes).unwrap();
    let opened = std::panic::catch_unwind(|| {
        let mut stores = Stores::open(folder.path(), 1 << 30)?;
        (0..2_000_u32)
            .try_for_each(|key| stores.get("s", &key.to_be_bytes()).map(drop))
            .map_err(|StoreFailed| stores.take_failure().unwrap())
    });
    assert!(
        !matches!(opened, Ok(Ok(()))),
        "the corruption was not detected"
    );
    assert!(
        !folder.path().exists(),
        "the file still exists, so the next start would fail, too"
    );
}

#[test]
fn only_one_worker_can_open_the_file() {
    let folder = Folder::new();
    let mut stores = folder.open();
    stores.keep("s", "a", "1");
    stores.publish(1);
    stores.write().unwrap();
    let second = Stores::open(folder.path(), 1).unwrap_err();
    assert!(second.to_string().contains("already open"), "{second}");
    assert!(!second.is_stop());
    stores.close();
    assert!(Stores::open(folder.path(), 1).is_ok());
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("a file");
    fs::write(&blocked, b"").unwrap();
    let mut stores = Stores::open(blocked.join("0.redb"), 1 << 20).unwrap();
    stores.keep("s", "a", "1");
    stores.publish(1);
    assert_eq!(stores.write(), Err(StoreFailed));
    assert!(stores.has_failed());
    let failure = stores.take_failure().unwrap();
    assert!(failure.to_string().contains("0.redb"), "{failure}");
}

#[test]
fn the_first_record_of_a_submission_is_never_a_repetition() {
    let folder = Folder::new();
    let mut stores = folder.open();
    let first = submission("key", 7, 1_000);
    assert!(!is_repetition(&mut stores, &first));
    assert!(is_repetition(&mut stores, &submission("key", 9, 2_000)));
    assert!(
        !is_repetition(&mut stores, &first),
        "the same record, read again"
    );
    stores.know_submissions("form", 10);
    stores.close();

    let mut again = folder.open();
    assert_eq!(again.submissions_known("form"), Some(10));
    assert_eq!(again.submissions_known("other"), None);
    assert!(is_repetition(&mut again, &submission("key", 12, 3_000)));
}

#[test]
fn a_submission_key_can_be_reused_after_a_day() {
    let folder = Folder::new();
    let mut stores = folder.open();
    assert!(!is_repetition(&mut stores, &submission("key", 1, 0)));
    let at_end = submission("key", 2, window_ms());
    assert!(is_repetition(&mut stores, &at_end));
    stores.write().unwrap();
    stores.set_time(window_ms() + 1 + HOUR_MS);
    stores.delete_expired(1).unwrap();
    assert_eq!(
        stores.changes().count(),
        0,
        "submissions are not in the changelog"
    );
    let later = submission("key", 3, window_ms() + 1);
    assert!(!is_repetition(&mut stores, &later));
}
