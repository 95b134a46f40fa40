//! Acknowledged writes survive a stop, a crash, and a kill during a write.

use std::process::Command;
use std::time::Duration;

use formline_sheets_emulator::{Emulator, Error, Options};
use formline_testing::{Process, eventually};
use serde_json::{Value, json};

use crate::harness::{ID, Server, TIMEOUT, append, checkpoint, folder};

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = folder();
    let server = Server::start_in(folder.path(), None).await;
    server
        .batch(json!([append(0, &[&["1"]]), checkpoint(1, 0, "a")]))
        .await
        .ok();
    server.stop().await;
    let server = Server::start_in(folder.path(), None).await;
    server.batch(json!([append(0, &[&["2"]])])).await.ok();
    assert_eq!(server.values("Sheet1").await, json!([["1"], ["2"]]));
    assert_eq!(server.metadata_ids().await, [1]);
}

/// A copy of the open file simulates a power failure after the response.
#[tokio::test]
async fn acknowledged_writes_survive_a_crash() {
    let (server, source) = Server::start().await;
    server
        .batch(json!([append(0, &[&["1"]]), checkpoint(1, 0, "a")]))
        .await
        .ok();
    server
        .batch(json!([append(0, &[&["2"]]), checkpoint(1, 0, "a")]))
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

/// The name of the test below, which also runs in the process that it kills.
const SERVE: &str = "durability::a_killed_emulator_has_complete_batches";
const FOLDER: &str = "FORMLINE_TEST_EMULATOR_FOLDER";
const ROWS: usize = 50;

/// Kills the process while it writes batches. Afterwards every batch is complete or missing, each
/// has its checkpoint, and no acknowledged batch is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_emulator_has_complete_batches() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        serve_until_killed(folder.as_ref()).await;
    }
    let folder = folder();
    let mut acknowledged = 0;
    for _ in 0..3 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", SERVE, "--nocapture"])
            .env(FOLDER, folder.path());
        let mut process = Process::spawn(&mut command);
        let address = folder.path().join("address");
        let base = eventually(TIMEOUT, async || std::fs::read_to_string(&address).ok()).await;
        std::fs::remove_file(&address).unwrap();
        let killed = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            process.kill9();
        });
        acknowledged = write_until_killed(&base, acknowledged).await;
        killed.await.unwrap();
        acknowledged = check_complete(folder.path(), acknowledged).await;
    }
    assert!(
        acknowledged > 3,
        "only {acknowledged} batches were acknowledged"
    );
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
        checkpoint(i32::try_from(batch).unwrap() + 1, 0, ""),
        append(0, &[&[text.as_str()][..]; ROWS])
    ])
}

/// Writes batches until the process is killed, and returns how many were acknowledged.
async fn write_until_killed(base: &str, first: usize) -> usize {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
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
            Ok(response) => {
                assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
            }
            Err(_) => return batch,
        }
    }
    unreachable!("the process is killed before all numbers are used")
}

/// Checks that the batches in the file are complete, and returns how many there are.
async fn check_complete(folder: &std::path::Path, acknowledged: usize) -> usize {
    let server = Server::start_in(folder, None).await;
    let values = server.values("Sheet1").await;
    let checkpoints = server.metadata_ids().await.len();
    server.stop().await;
    // Besides the acknowledged batches, there may be the one in flight.
    assert!(
        checkpoints == acknowledged || checkpoints == acknowledged + 1,
        "{checkpoints} batches, but {acknowledged} were acknowledged"
    );
    let expected: Vec<Value> = (0..checkpoints)
        .flat_map(|batch| vec![json!([batch.to_string()]); ROWS])
        .collect();
    assert_eq!(values, Value::Array(expected));
    checkpoints
}

#[tokio::test]
async fn a_folder_can_be_used_by_one_emulator_only() {
    let (_server, folder) = Server::start().await;
    let again = Emulator::open(Options {
        data: folder.path().to_owned(),
        quota: None,
    });
    assert!(matches!(again, Err(Error::InUse { .. })), "{again:?}");
}

#[tokio::test]
async fn an_unusable_folder_is_an_error() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
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
