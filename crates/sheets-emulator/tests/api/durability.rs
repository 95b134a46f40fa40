//! What was answered is on the disk: after a stop, a crash, and a kill in the middle of writing.

use std::process::Command;
use std::time::Duration;

use formline_sheets_emulator::{Emulator, Error, Options};
use formline_testing::{Process, eventually};
use serde_json::{Value, json};

use crate::vocabulary::{ID, SOON, Server, append, folder, mark};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = folder();
    let server = Server::start_in(folder.path(), None).await;
    server
        .batch(json!([append(0, &[&["1"]]), mark(1, 0, "a")]))
        .await
        .ok();
    server.stop().await;
    let server = Server::start_in(folder.path(), None).await;
    server.batch(json!([append(0, &[&["2"]])])).await.ok();
    assert_eq!(server.values("Sheet1").await, json!([["1"], ["2"]]));
    assert_eq!(server.metadata_ids().await, [1]);
}

/// A copy of the open file is what a power cut after the answer leaves.
#[tokio::test]
async fn everything_that_was_answered_is_there_after_a_crash() {
    let (server, source) = Server::start().await;
    server
        .batch(json!([append(0, &[&["1"]]), mark(1, 0, "a")]))
        .await
        .ok();
    server
        .batch(json!([append(0, &[&["2"]]), mark(1, 0, "a")]))
        .await
        .invalid();
    let copy = folder();
    std::fs::copy(
        source.path().join("emulator.redb"),
        copy.path().join("emulator.redb"),
    )
    .unwrap();
    let restored = Server::start_in(copy.path(), None).await;
    assert_eq!(restored.values("Sheet1").await, json!([["1"]]));
    assert_eq!(restored.metadata_ids().await, [1]);
}

/// The name of the test below, which is also the process that it kills.
const SERVE: &str = "durability::a_killed_emulator_has_whole_batches";
const FOLDER: &str = "FORMLINE_TEST_EMULATOR_FOLDER";
const ROWS: usize = 50;

/// kill -9 while batches are written: every batch is there whole or not at all, each has its mark,
/// and none that was answered is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_emulator_has_whole_batches() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        serve_until_killed(folder.as_ref()).await;
    }
    let folder = folder();
    let mut answered = 0;
    for _ in 0..3 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", SERVE, "--nocapture"])
            .env(FOLDER, folder.path());
        let mut process = Process::spawn(&mut command);
        let address = folder.path().join("address");
        let base = eventually(SOON, async || std::fs::read_to_string(&address).ok()).await;
        std::fs::remove_file(&address).unwrap();
        let killed = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            process.kill9();
        });
        answered = write_until_dead(&base, answered).await;
        killed.await.unwrap();
        answered = check_whole(folder.path(), answered).await;
    }
    assert!(answered > 3, "wrote only {answered} batches");
}

async fn serve_until_killed(folder: &std::path::Path) {
    let options = Options {
        data: folder.to_owned(),
        quota: None,
    };
    let emulator = Emulator::open(options).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::fs::write(folder.join("address.new"), base).unwrap();
    std::fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
    emulator.serve(listener, Default::default()).await.unwrap();
}

fn numbered(batch: usize) -> Value {
    let text = batch.to_string();
    json!([
        mark(i32::try_from(batch).unwrap() + 1, 0, ""),
        append(0, &[&[text.as_str()][..]; ROWS])
    ])
}

/// Writes batch after batch and returns how many were answered.
async fn write_until_dead(base: &str, first: usize) -> usize {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(SOON)
        .build()
        .unwrap();
    for batch in first.. {
        let body = json!({ "requests": numbered(batch) });
        let sent = http
            .post(format!("{base}/v4/spreadsheets/{ID}:batchUpdate"))
            .json(&body)
            .send()
            .await;
        match sent {
            Ok(answer) => assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap()),
            Err(_) => return batch,
        }
    }
    unreachable!("the process is killed long before")
}

/// Checks the file a kill left, and returns how many batches it holds.
async fn check_whole(folder: &std::path::Path, answered: usize) -> usize {
    let server = Server::start_in(folder, None).await;
    let values = server.values("Sheet1").await;
    let marks = server.metadata_ids().await.len();
    server.stop().await;
    // At most the one in flight is more than what was answered.
    assert!(
        marks == answered || marks == answered + 1,
        "{marks} batches of {answered} answered"
    );
    let expected: Vec<Value> = (0..marks)
        .flat_map(|batch| vec![json!([batch.to_string()]); ROWS])
        .collect();
    assert_eq!(values, Value::Array(expected));
    marks
}

#[tokio::test]
async fn a_folder_serves_one_emulator() {
    let (_server, folder) = Server::start().await;
    let again = Emulator::open(Options {
        data: folder.path().to_owned(),
        quota: None,
    });
    assert!(matches!(again, Err(Error::InUse { .. })), "{again:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let opened = Emulator::open(Options {
        data: file,
        quota: None,
    });
    assert!(matches!(opened, Err(Error::Folder { .. })), "{opened:?}");
    std::fs::write(folder.path().join("emulator.redb"), "not a database").unwrap();
    let opened = Emulator::open(Options {
        data: folder.path().to_owned(),
        quota: None,
    });
    assert!(matches!(opened, Err(Error::Database { .. })), "{opened:?}");
}
