//! When a spreadsheet is full, the sink continues in the next one.

use formline_testing::{eventually, unique};
use serde_json::{Value, json};

use crate::pipeline::{DEADLINE, Pipeline, any_cells, now};

/// A pipeline with a second spreadsheet, and the id of that one.
async fn with_two() -> (Pipeline, String) {
    let mut pipeline = Pipeline::new().await;
    let second = unique("sheet");
    pipeline.settings.further = vec![second.clone()];
    (pipeline, second)
}

/// A user adds a tab, so that the spreadsheet then has this number of cells.
async fn fill(pipeline: &Pipeline, cells: u64) {
    let size = |sheet: &Value| {
        let grid = &sheet["properties"]["gridProperties"];
        grid["rowCount"].as_u64().unwrap() * grid["columnCount"].as_u64().unwrap()
    };
    let used: u64 = (pipeline.get("").await["sheets"].as_array().unwrap().iter())
        .map(size)
        .sum();
    let grid = json!({ "rowCount": cells - used, "columnCount": 1 });
    let properties = json!({ "title": "Archive", "gridProperties": grid });
    pipeline
        .change(json!([{ "addSheet": { "properties": properties } }]))
        .await;
}

async fn expect_in(pipeline: &Pipeline, spreadsheet: &str, ids: &[String]) {
    let look = async || pipeline.ids_in(spreadsheet).await.len() >= ids.len();
    eventually(DEADLINE, look).await;
    assert_eq!(pipeline.ids_in(spreadsheet).await, ids);
}

const FULL: u64 = 10_000_000;
const NEARLY_FULL: u64 = 9_000_000;

#[tokio::test]
async fn rows_continue_in_the_next_spreadsheet_when_google_reports_that_one_is_full() {
    let (pipeline, second) = with_two().await;
    let running = pipeline.start();
    let first = [pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&first).await;
    fill(&pipeline, FULL).await;
    let mut rest = Vec::new();
    for _ in 0..20 {
        rest.push(pipeline.submit(now(), any_cells()).await);
    }
    expect_in(&pipeline, &second, &rest).await;
    assert_eq!(pipeline.ids().await, first);
    pipeline.expect_committed().await;
    let place = |spreadsheet: &str, id: &String| (spreadsheet.to_owned(), id.clone());
    let mut rows = vec![place(&pipeline.settings.spreadsheet, &first[0])];
    rows.extend(rest.iter().map(|id| place(&second, id)));
    assert_eq!(pipeline.outcomes().await, rows, "the audit reads both");
    running.stop().await;
    // A new start finds the second spreadsheet, whether the app lists both or only that one.
    let running = pipeline.start();
    rest.push(pipeline.submit(now(), any_cells()).await);
    expect_in(&pipeline, &second, &rest).await;
    running.stop().await;
    let mut pipeline = pipeline;
    pipeline.settings.spreadsheet = pipeline.settings.further.remove(0);
    let running = pipeline.start();
    rest.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&rest).await;
    assert_eq!(pipeline.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test]
async fn a_spreadsheet_that_is_nearly_full_is_left_to_its_users() {
    let (pipeline, second) = with_two().await;
    fill(&pipeline, NEARLY_FULL).await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    expect_in(&pipeline, &second, &[id]).await;
    assert_eq!(pipeline.ids().await, Vec::<String>::new());
    running.stop().await;
}

#[tokio::test]
async fn a_crash_between_two_spreadsheets_duplicates_and_loses_nothing() {
    let (pipeline, second) = with_two().await;
    let running = pipeline.start();
    let first = [pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&first).await;
    fill(&pipeline, FULL).await;
    // The row is rejected and the tab is closed, but the response of that write is lost.
    pipeline
        .inject_faults(json!([{ "kind": "delay", "delay_ms": 1 }, { "kind": "apply_then_hang" }]))
        .await;
    let mut rest = vec![pipeline.submit(now(), any_cells()).await];
    eventually(DEADLINE, async || pipeline.pending_faults().await == 0).await;
    eventually(DEADLINE, async || {
        pipeline.newest_checkpoint().await.contains(&second)
    })
    .await;
    running.kill();
    let running = pipeline.start();
    rest.push(pipeline.submit(now(), any_cells()).await);
    expect_in(&pipeline, &second, &rest).await;
    assert_eq!(pipeline.ids().await, first);
    running.stop().await;
}

#[tokio::test]
async fn without_another_spreadsheet_rows_wait_for_room() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    fill(&pipeline, FULL).await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    let refused = r#"formline_sheets_requests_total{outcome="refused"}"#;
    eventually(DEADLINE, async || running.metric(refused).await >= 1.0).await;
    let sheets = pipeline.get("").await["sheets"].clone();
    let archive = (sheets.as_array().unwrap().iter())
        .find(|sheet| sheet["properties"]["title"] == "Archive")
        .unwrap()["properties"]["sheetId"]
        .clone();
    pipeline
        .change(json!([{ "deleteSheet": { "sheetId": archive } }]))
        .await;
    pipeline.expect(&ids).await;
    assert_eq!(pipeline.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test]
async fn a_spreadsheet_that_the_app_no_longer_lists_stops_the_sink() {
    let (mut pipeline, second) = with_two().await;
    fill(&pipeline, NEARLY_FULL).await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    expect_in(&pipeline, &second, &[id]).await;
    running.stop().await;
    pipeline.settings.further.clear();
    let running = pipeline.start();
    pipeline.submit(now(), any_cells()).await;
    running.expect_stopped("continues in").await;
    running.stop().await;
}

#[tokio::test]
async fn a_tab_that_was_deleted_from_the_next_spreadsheet_is_not_created_again() {
    let (mut pipeline, second) = with_two().await;
    fill(&pipeline, NEARLY_FULL).await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    expect_in(&pipeline, &second, &[id]).await;
    pipeline.expect_committed().await;
    running.stop().await;
    let first = std::mem::replace(&mut pipeline.settings.spreadsheet, second.clone());
    let sheet = pipeline.tab().await["sheetId"].clone();
    pipeline
        .change(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await;
    pipeline.settings.spreadsheet = first;
    let running = pipeline.start();
    pipeline.submit(now(), any_cells()).await;
    running.expect_stopped("is gone").await;
    running.stop().await;
}
