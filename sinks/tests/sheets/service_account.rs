//! Calls as a service account with tokens. The emulator takes Google's place.

use formline_sinks::{Error, Google, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pipeline::{DEADLINE, Pipeline, any_cells, now};
use formline_testing::eventually;

/// A key that is only valid for the emulator's token endpoint.
fn key_file(pipeline: &Pipeline, folder: &std::path::Path) -> std::path::PathBuf {
    let mut key: Value = serde_json::from_str(include_str!(
        "../../../crates/sheets-emulator/tests/api/service-account.json"
    ))
    .unwrap();
    key["token_uri"] = format!("{}token", pipeline.google_server.base).into();
    let file = folder.join("key.json");
    std::fs::write(&file, key.to_string()).unwrap();
    file
}

/// A pipeline that must request tokens, and the folder of its key.
async fn as_account() -> (Pipeline, TempDir) {
    let mut pipeline = Pipeline::new().await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = key_file(&pipeline, folder.path());
    pipeline.google = Google::ServiceAccount {
        key_file,
        base_url: Some(pipeline.google_server.base.clone()),
    };
    (pipeline, folder)
}

#[tokio::test]
async fn rows_are_written_as_a_service_account() {
    let (pipeline, _folder) = as_account().await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_failed_token_request_is_retried() {
    let (pipeline, _folder) = as_account().await;
    pipeline
        .inject_faults(json!([
            { "kind": "refuse", "on": "token" },
            { "kind": "apply_then_cut", "on": "token" },
        ]))
        .await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    assert_eq!(pipeline.pending_faults().await, 0);
    let denied = r#"formline_sheets_requests_total{outcome="denied"}"#;
    assert!(running.metric(denied).await >= 1.0);
    running.stop().await;
}

async fn start_error(pipeline: &Pipeline) -> Error {
    let app = std::sync::Arc::new(pipeline.definition());
    let sink = std::sync::Arc::clone(&app.sinks[0]);
    let options = Options {
        client: pipeline.client.clone(),
        instance: "one".to_owned(),
        google: Some(pipeline.google.clone()),
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
async fn invalid_settings_are_reported_before_anything_starts() {
    let mut pipeline = Pipeline::new().await;
    pipeline.settings.spreadsheet = "../../token".to_owned();
    assert!(matches!(
        start_error(&pipeline).await,
        Error::SpreadsheetId(_)
    ));
    pipeline.google = Google::ServiceAccount {
        key_file: "/no/such/key.json".into(),
        base_url: None,
    };
    assert!(matches!(start_error(&pipeline).await, Error::Key { .. }));
}

#[tokio::test]
async fn a_sink_that_starts_while_google_is_unavailable_begins_when_it_is_back() {
    let (mut pipeline, _folder) = as_account().await;
    pipeline.google_server.stop().await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    let denied = r#"formline_sheets_requests_total{outcome="denied"}"#;
    eventually(DEADLINE, async || running.metric(denied).await > 0.0).await;
    pipeline.google_server.restart().await;
    pipeline.expect(&[id]).await;
    running.stop().await;
}
