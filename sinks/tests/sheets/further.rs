//! A spreadsheet is full: the sink goes on in the next one.

use formline_testing::{eventually, unique};
use serde_json::{Value, json};

use crate::line::{DEADLINE, Line, any, now};

/// A line with a second spreadsheet, and the id of that.
async fn with_two() -> (Line, String) {
    let mut line = Line::new().await;
    let second = unique("sheet");
    line.settings.further = vec![second.clone()];
    (line, second)
}

/// A person adds a tab, after which the spreadsheet has so many cells.
async fn fill(line: &Line, cells: u64) {
    let size = |sheet: &Value| {
        let grid = &sheet["properties"]["gridProperties"];
        grid["rowCount"].as_u64().unwrap() * grid["columnCount"].as_u64().unwrap()
    };
    let used: u64 = (line.get("").await["sheets"].as_array().unwrap().iter())
        .map(size)
        .sum();
    let grid = json!({ "rowCount": cells - used, "columnCount": 1 });
    let properties = json!({ "title": "Archive", "gridProperties": grid });
    line.change(json!([{ "addSheet": { "properties": properties } }]))
        .await;
}

async fn expect_in(line: &Line, spreadsheet: &str, ids: &[String]) {
    let look = async || line.ids_in(spreadsheet).await.len() >= ids.len();
    eventually(DEADLINE, look).await;
    assert_eq!(line.ids_in(spreadsheet).await, ids);
}

const FULL: u64 = 10_000_000;
const NEARLY_FULL: u64 = 9_000_000;

#[tokio::test]
async fn rows_go_on_in_the_next_spreadsheet_when_google_says_that_one_is_full() {
    let (line, second) = with_two().await;
    let running = line.start();
    let first = [line.submit(now(), any()).await];
    line.expect(&first).await;
    fill(&line, FULL).await;
    let mut rest = Vec::new();
    for _ in 0..20 {
        rest.push(line.submit(now(), any()).await);
    }
    expect_in(&line, &second, &rest).await;
    assert_eq!(line.ids().await, first);
    line.expect_committed().await;
    let place = |spreadsheet: &str, id: &String| (spreadsheet.to_owned(), id.clone());
    let mut rows = vec![place(&line.settings.spreadsheet, &first[0])];
    rows.extend(rest.iter().map(|id| place(&second, id)));
    assert_eq!(line.outcomes().await, rows, "an outsider sees both");
    running.stop().await;
    // A new start finds the way, with both spreadsheets or with the new one alone.
    let running = line.start();
    rest.push(line.submit(now(), any()).await);
    expect_in(&line, &second, &rest).await;
    running.stop().await;
    let mut line = line;
    line.settings.spreadsheet = line.settings.further.remove(0);
    let running = line.start();
    rest.push(line.submit(now(), any()).await);
    line.expect(&rest).await;
    assert_eq!(line.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test]
async fn a_spreadsheet_that_is_nearly_full_is_left_to_people() {
    let (line, second) = with_two().await;
    fill(&line, NEARLY_FULL).await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    expect_in(&line, &second, &[id]).await;
    assert_eq!(line.ids().await, Vec::<String>::new());
    running.stop().await;
}

#[tokio::test]
async fn a_crash_between_two_spreadsheets_doubles_and_loses_nothing() {
    let (line, second) = with_two().await;
    let running = line.start();
    let first = [line.submit(now(), any()).await];
    line.expect(&first).await;
    fill(&line, FULL).await;
    // The row is refused; the tab is closed, but the sink is not told.
    line.plan(json!([{ "kind": "delay", "delay_ms": 1 }, { "kind": "apply_then_hang" }]))
        .await;
    let mut rest = vec![line.submit(now(), any()).await];
    eventually(DEADLINE, async || line.planned().await == 0).await;
    eventually(DEADLINE, async || {
        line.newest_mark().await.contains(&second)
    })
    .await;
    running.kill();
    let running = line.start();
    rest.push(line.submit(now(), any()).await);
    expect_in(&line, &second, &rest).await;
    assert_eq!(line.ids().await, first);
    running.stop().await;
}

#[tokio::test]
async fn without_another_spreadsheet_rows_wait_for_room() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    fill(&line, FULL).await;
    ids.push(line.submit(now(), any()).await);
    let refused = r#"formline_sheets_requests_total{outcome="refused"}"#;
    eventually(DEADLINE, async || running.metric(refused).await >= 1.0).await;
    let sheets = line.get("").await["sheets"].clone();
    let archive = (sheets.as_array().unwrap().iter())
        .find(|sheet| sheet["properties"]["title"] == "Archive")
        .unwrap()["properties"]["sheetId"]
        .clone();
    line.change(json!([{ "deleteSheet": { "sheetId": archive } }]))
        .await;
    line.expect(&ids).await;
    assert_eq!(line.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test]
async fn a_spreadsheet_that_the_app_does_not_name_any_more_stops_the_sink() {
    let (mut line, second) = with_two().await;
    fill(&line, NEARLY_FULL).await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    expect_in(&line, &second, &[id]).await;
    running.stop().await;
    line.settings.further.clear();
    let running = line.start();
    line.submit(now(), any()).await;
    running.expect_stopped("goes on in").await;
    running.stop().await;
}

#[tokio::test]
async fn a_tab_that_was_deleted_from_the_next_spreadsheet_is_not_written_anew() {
    let (mut line, second) = with_two().await;
    fill(&line, NEARLY_FULL).await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    expect_in(&line, &second, &[id]).await;
    line.expect_committed().await;
    running.stop().await;
    let first = std::mem::replace(&mut line.settings.spreadsheet, second.clone());
    let sheet = line.tab().await["sheetId"].clone();
    line.change(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await;
    line.settings.spreadsheet = first;
    let running = line.start();
    line.submit(now(), any()).await;
    running.expect_stopped("is gone").await;
    running.stop().await;
}
