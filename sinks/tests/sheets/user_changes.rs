//! What users do to a spreadsheet.

use std::time::Duration;

use formline_sinks::EmulatorTiming;
use formline_testing::{eventually, unique};
use serde_json::{Value, json};

use crate::{
    kafka::recreate_topic,
    pipeline::{DEADLINE, Pipeline, TAB, any_cells, cell, now},
};

#[tokio::test]
async fn a_deleted_tab_stops_the_sink_and_is_not_created_again() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    assert!(running.telemetry.is_ready());
    pipeline.expect_committed().await;
    let sheet = pipeline.tab().await["sheetId"].clone();
    pipeline
        .change(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await;
    pipeline.submit(now(), any_cells()).await;
    running.expect_stopped("is gone").await;
    assert!(pipeline.tab().await.is_null(), "it is not created again");
    running.stop().await;
    let running = pipeline.start();
    running.expect_stopped("is gone").await;
    assert!(pipeline.tab().await.is_null(), "not even by a new start");
    running.stop().await;
}

/// Sorts the rows below the heading, as a user would.
fn sort(sheet: &Value) -> Value {
    let range = json!({ "sheetId": sheet, "startRowIndex": 1 });
    let by_id = json!([{ "dimensionIndex": 0, "sortOrder": "DESCENDING" }]);
    json!({ "sortRange": { "range": range, "sortSpecs": by_id } })
}

fn rows(sheet: &Value, start: u64, end: u64) -> Value {
    json!({ "sheetId": sheet, "dimension": "ROWS", "startIndex": start, "endIndex": end })
}

fn edit(sheet: &Value, row: u64, text: &str) -> Value {
    let start = json!({ "sheetId": sheet, "rowIndex": row, "columnIndex": 3 });
    let cell = json!({ "userEnteredValue": { "stringValue": text } });
    let rows = json!([{ "values": [cell] }]);
    json!({ "updateCells": { "start": start, "rows": rows, "fields": "userEnteredValue" } })
}

#[tokio::test]
async fn users_may_sort_insert_edit_and_delete_rows_while_others_arrive() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    let sheet = pipeline.tab().await["sheetId"].clone();
    let deleted = ids[0].clone();
    pipeline
        .change(json!([{ "deleteDimension": { "range": rows(&sheet, 1, 2) } }]))
        .await;
    for round in 0..10 {
        for _ in 0..5 {
            ids.push(pipeline.submit(now(), any_cells()).await);
        }
        // Some of these rows are written by now, others are written in between.
        let written = async || pipeline.filled_ids().await.len() > 5 * round;
        eventually(DEADLINE, written).await;
        pipeline
            .change(json!([
                sort(&sheet),
                { "insertDimension": { "range": rows(&sheet, 1, 3) } },
                edit(&sheet, 3, "edited by a user"),
            ]))
            .await;
    }
    let all = async || pipeline.filled_ids().await.len() == ids.len() - 1;
    eventually(DEADLINE, all).await;
    let mut found = pipeline.filled_ids().await;
    assert!(!found.contains(&deleted), "a deleted row stays deleted");
    found.push(deleted);
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    let edited = pipeline.sheet().await.into_iter();
    assert!(
        edited
            .filter(|row| row.get(3) == Some(&json!("edited by a user")))
            .count()
            > 0
    );
    running.stop().await;
}

#[tokio::test]
async fn a_tab_that_a_user_created_is_left_alone() {
    let pipeline = Pipeline::new().await;
    pipeline
        .change(json!([{ "addSheet": { "properties": { "title": TAB } } }]))
        .await;
    let running = pipeline.start();
    pipeline.submit(now(), any_cells()).await;
    running
        .expect_stopped("that this sink has not created")
        .await;
    assert_eq!(pipeline.grid().await.len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_renamed_tab_is_still_the_same_tab() {
    let (pipeline, mut ids) = Pipeline::with_a_row().await;
    let sheet = pipeline.tab().await["sheetId"].clone();
    let rename = |title: &str| {
        let properties = json!({ "sheetId": sheet, "title": title });
        json!([{ "updateSheetProperties": { "properties": properties, "fields": "title" } }])
    };
    pipeline.change(rename("Antworten")).await;
    let running = pipeline.start();
    ids.push(pipeline.submit(now(), any_cells()).await);
    eventually(DEADLINE, async || {
        let grid = pipeline.get("/values/Antworten!A1:A9").await;
        grid["values"]
            .as_array()
            .is_some_and(|rows| rows.len() == 3)
    })
    .await;
    pipeline.change(rename(TAB)).await;
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn rows_wait_while_a_column_is_missing() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    let tab = pipeline.tab().await;
    let columns = |count: u64| {
        let grid = json!({ "columnCount": count, "rowCount": tab["gridProperties"]["rowCount"] });
        let properties = json!({ "sheetId": tab["sheetId"], "gridProperties": grid });
        let fields = "gridProperties.columnCount";
        json!([{ "updateSheetProperties": { "properties": properties, "fields": fields } }])
    };
    pipeline.change(columns(2)).await;
    for _ in 0..4 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    // Google has rejected all rows, half of them, one row and a blank one, so the rows cannot be at
    // fault.
    let name = r#"formline_sheets_requests_total{outcome="refused"}"#;
    eventually(DEADLINE, async || running.metric(name).await >= 3.0).await;
    pipeline.change(columns(4)).await;
    pipeline.expect(&ids).await;
    assert_eq!(pipeline.dead_letters().await, []);
    running.stop().await;
}

fn columns(sheet: &Value, start: u64, end: u64) -> Value {
    json!({ "sheetId": sheet, "dimension": "COLUMNS", "startIndex": start, "endIndex": end })
}

#[tokio::test]
async fn an_inserted_column_stops_a_sink_that_starts() {
    let (pipeline, mut ids) = Pipeline::with_a_row().await;
    let sheet = pipeline.tab().await["sheetId"].clone();
    pipeline
        .change(json!([{ "insertDimension": { "range": columns(&sheet, 3, 4) } }]))
        .await;
    let running = pipeline.start();
    ids.push(pipeline.submit(now(), any_cells()).await);
    running
        .expect_stopped("inserted, moved or deleted: `ROLL`")
        .await;
    assert_eq!(pipeline.ids().await.len(), 1, "no row is written");
    running.stop().await;
    // The remedy is the one in the error. A heading may be renamed, and users may add columns on
    // the right.
    let edit = |column: u64, text: &str| {
        let start = json!({ "sheetId": sheet, "rowIndex": 0, "columnIndex": column });
        let cell = json!({ "userEnteredValue": { "stringValue": text } });
        let rows = json!([{ "values": [cell] }]);
        json!({ "updateCells": { "start": start, "rows": rows, "fields": "userEnteredValue" } })
    };
    pipeline
        .change(json!([
            { "deleteDimension": { "range": columns(&sheet, 3, 4) } },
            edit(3, "Matriculation number"),
            { "insertDimension": { "range": columns(&sheet, 4, 5) } },
            edit(4, "mine"),
        ]))
        .await;
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_deleted_column_stops_the_sink_at_the_rejection() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(std::slice::from_ref(&id)).await;
    let sheet = pipeline.tab().await["sheetId"].clone();
    pipeline
        .change(json!([{ "deleteDimension": { "range": columns(&sheet, 1, 2) } }]))
        .await;
    pipeline.submit(now(), any_cells()).await;
    running.expect_stopped("`Note` is not where").await;
    assert_eq!(pipeline.ids().await, [id]);
    assert_eq!(pipeline.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test]
async fn an_inserted_column_stops_the_sink_at_the_next_check() {
    let pipeline = Pipeline::with_timing(EmulatorTiming {
        headings_interval: Duration::from_secs(2),
        ..EmulatorTiming::default()
    })
    .await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    let sheet = pipeline.tab().await["sheetId"].clone();
    pipeline
        .change(json!([{ "insertDimension": { "range": columns(&sheet, 0, 1) } }]))
        .await;
    // The sink checks the headings before it writes.
    let submissions = async {
        loop {
            pipeline.submit(now(), any_cells()).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::select! {
        () = running.expect_stopped("`Submission` is not where") => {}
        () = submissions => {}
    }
    running.stop().await;
}

#[tokio::test]
async fn a_copy_of_a_spreadsheet_is_not_written() {
    let mut pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    running.stop().await;
    let search = json!([{ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": 5, "metadataKey": "formline", "visibility": "DOCUMENT", "location": { "sheetId": 7 },
        "metadataValue": pipeline.newest_checkpoint().await.replace(&pipeline.tab().await["sheetId"].to_string(), "7"),
    } } }]);
    pipeline.settings.spreadsheet = unique("copy");
    pipeline
        .change(json!([{ "addSheet": { "properties": { "title": TAB, "sheetId": 7 } } }]))
        .await;
    pipeline.change(search).await;
    let running = pipeline.start();
    running.expect_stopped("is a copy of").await;
    running.stop().await;
}

#[tokio::test]
async fn a_recreated_topic_stops_the_sink_until_it_has_another_spreadsheet() {
    let mut pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[id]).await;
    pipeline.expect_committed().await;
    running.stop().await;
    recreate_topic(&mut pipeline).await;
    let running = pipeline.start();
    running
        .expect_stopped("offsets start over; to write its records, name a new spreadsheet")
        .await;
    running.stop().await;
    let ids = [pipeline.submit(now(), any_cells()).await];
    pipeline.settings.spreadsheet = unique("sheet");
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
}

/// Metadata that is in the spreadsheet before the sink starts.
fn metadata(id: i64, sheet: &Value, value: &str) -> Value {
    json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": id, "metadataKey": "formline", "metadataValue": value,
        "visibility": "DOCUMENT", "location": { "sheetId": sheet },
    } } })
}

#[tokio::test]
async fn two_large_checkpoints_need_not_fit_beside_the_metadata_of_an_add_on() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    // Column names for a checkpoint of more than 7,500 characters.
    let wide: Value = (0..78)
        .map(|n| cell(&format!("{n}{}", "x".repeat(90)), n))
        .collect();
    let mut ids = vec![pipeline.submit(now(), wide.clone()).await];
    pipeline.expect(&ids).await;
    let checkpoint = pipeline.newest_checkpoint().await.len();
    assert!(2 * checkpoint > 15_000, "{checkpoint}");
    let note = json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataKey": "add-on", "metadataValue": "x".repeat(30_000 - 15_000),
        "visibility": "DOCUMENT", "location": { "sheetId": pipeline.tab().await["sheetId"] },
    } } });
    pipeline.change(json!([note])).await;
    for _ in 0..3 {
        ids.push(pipeline.submit(now(), wide.clone()).await);
        pipeline.expect(&ids).await;
    }
    let refused = r#"formline_sheets_requests_total{outcome="refused"}"#;
    assert_eq!(running.metric(refused).await, 0.0);
    running.stop().await;
}

#[tokio::test]
async fn a_tab_without_versions_left_stops_the_sink_until_it_has_another_spreadsheet() {
    let mut pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(std::slice::from_ref(&id)).await;
    running.stop().await;
    let sheet = pipeline.tab().await["sheetId"].clone();
    let last_but_one = metadata((1 << 24) - 2, &sheet, &pipeline.newest_checkpoint().await);
    pipeline.change(json!([last_but_one])).await;
    let running = pipeline.start();
    let next = pipeline.submit(now(), any_cells()).await;
    running.expect_stopped("name another spreadsheet").await;
    assert_eq!(pipeline.ids().await, [id]);
    running.stop().await;
    let further = unique("sheet");
    pipeline.settings.further = vec![further.clone()];
    let running = pipeline.start();
    eventually(DEADLINE, async || {
        pipeline.ids_in(&further).await == [next.clone()]
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_spreadsheet_with_too_many_tabs_stops_the_sink() {
    let pipeline = Pipeline::new().await;
    let checkpoints: Value = (0..128)
        .map(|tab| metadata((tab << 24) + 1, &json!(0), "1"))
        .collect();
    pipeline.change(checkpoints).await;
    let running = pipeline.start();
    pipeline.submit(now(), any_cells()).await;
    running.expect_stopped("128 sinks").await;
    running.stop().await;
}
