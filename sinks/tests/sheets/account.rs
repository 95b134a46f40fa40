//! The way to Google itself: a service account, its token, and the emulator in Google's place.

use formline_sinks::{Error, Options, sheets::Google};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::line::{DEADLINE, Line, any, now};
use formline_testing::eventually;

/// A key that opens nothing, for the emulator's token endpoint.
fn key_file(line: &Line, folder: &std::path::Path) -> std::path::PathBuf {
    let mut key: Value =
        serde_json::from_str(include_str!("../../../crates/sheets-emulator/tests/api/service-account.json")).unwrap();
    key["token_uri"] = format!("{}token", line.emulated.base).into();
    let file = folder.join("key.json");
    std::fs::write(&file, key.to_string()).unwrap();
    file
}

/// A line that has to ask for tokens, and the folder of its key.
async fn as_account() -> (Line, TempDir) {
    let mut line = Line::new().await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = key_file(&line, folder.path());
    line.google = Google::ServiceAccount {
        key_file,
        base_url: Some(line.emulated.base.clone()),
    };
    (line, folder)
}

#[tokio::test]
async fn rows_are_written_as_a_service_account() {
    let (line, _folder) = as_account().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_asked_again() {
    let (line, _folder) = as_account().await;
    line.plan(json!([
        { "kind": "refuse", "on": "token" },
        { "kind": "apply_then_cut", "on": "token" },
    ]))
    .await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    assert_eq!(line.planned().await, 0);
    let denied = r#"formline_sheets_requests_total{outcome="denied"}"#;
    assert!(running.metric(denied).await >= 1.0);
    running.stop().await;
}

async fn start_error(line: &Line) -> Error {
    let app = std::sync::Arc::new(line.definition());
    let sink = std::sync::Arc::clone(&app.sinks[0]);
    let options = Options {
        client: line.client.clone(),
        instance: "one".to_owned(),
        google: Some(line.google.clone()),
        google_calls_per_minute: 60,
        postgres_url: None,
        smtp: None,
        webhook_private_addresses: Vec::new(),
        redis: None,
        telemetry: formline_core::Telemetry::new(),
    };
    formline_sinks::run(options, vec![(app, sink)], formline_core::Shutdown::new())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_starts() {
    let mut line = Line::new().await;
    line.settings.spreadsheet = "../../token".to_owned();
    assert!(matches!(start_error(&line).await, Error::SpreadsheetId(_)));
    line.google = Google::ServiceAccount {
        key_file: "/no/such/key.json".into(),
        base_url: None,
    };
    assert!(matches!(start_error(&line).await, Error::Key { .. }));
}

#[tokio::test]
async fn a_sink_that_starts_while_google_is_away_begins_when_it_is_back() {
    let (mut line, _folder) = as_account().await;
    line.emulated.stop().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    let denied = r#"formline_sheets_requests_total{outcome="denied"}"#;
    eventually(DEADLINE, async || running.metric(denied).await > 0.0).await;
    line.emulated.restart().await;
    line.expect(&[id]).await;
    running.stop().await;
}
