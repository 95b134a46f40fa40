//! What people do to a spreadsheet.

use formline_testing::{eventually, unique};
use serde_json::{Value, json};

use crate::{
    kafka::make_again,
    line::{DEADLINE, Line, TAB, any, cell, now},
};

#[tokio::test]
async fn a_deleted_tab_stops_the_sink_and_is_not_written_anew() {
    let line = Line::new().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    assert!(running.telemetry.is_ready());
    line.expect_committed().await;
    let sheet = line.tab().await["sheetId"].clone();
    line.change(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await;
    line.submit(now(), any()).await;
    running.expect_stopped("is gone").await;
    assert!(line.tab().await.is_null(), "it is not made again");
    running.stop().await;
    let running = line.start();
    running.expect_stopped("is gone").await;
    assert!(line.tab().await.is_null(), "nor by a new start");
    running.stop().await;
}

/// What a person does to the rows below the heading.
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
async fn people_sort_insert_edit_and_delete_while_rows_come() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    let sheet = line.tab().await["sheetId"].clone();
    let deleted = ids[0].clone();
    line.change(json!([{ "deleteDimension": { "range": rows(&sheet, 1, 2) } }]))
        .await;
    for round in 0..10 {
        for _ in 0..5 {
            ids.push(line.submit(now(), any()).await);
        }
        // Some of these rows are there by now, others come in between.
        let written = async || line.filled_ids().await.len() > 5 * round;
        eventually(DEADLINE, written).await;
        line.change(json!([
            sort(&sheet),
            { "insertDimension": { "range": rows(&sheet, 1, 3) } },
            edit(&sheet, 3, "mended by hand"),
        ]))
        .await;
    }
    let all = async || line.filled_ids().await.len() == ids.len() - 1;
    eventually(DEADLINE, all).await;
    let mut found = line.filled_ids().await;
    assert!(!found.contains(&deleted), "what was deleted stays deleted");
    found.push(deleted);
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    let edited = line.sheet().await.into_iter();
    assert!(
        edited
            .filter(|row| row.get(3) == Some(&json!("mended by hand")))
            .count()
            > 0
    );
    running.stop().await;
}

#[tokio::test]
async fn a_tab_that_a_person_made_is_left_alone() {
    let line = Line::new().await;
    line.change(json!([{ "addSheet": { "properties": { "title": TAB } } }]))
        .await;
    let running = line.start();
    line.submit(now(), any()).await;
    running.expect_stopped("that this sink has not made").await;
    assert_eq!(line.grid().await.len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_renamed_tab_is_still_the_same_tab() {
    let (line, mut ids) = Line::with_a_row().await;
    let sheet = line.tab().await["sheetId"].clone();
    let rename = |title: &str| {
        let properties = json!({ "sheetId": sheet, "title": title });
        json!([{ "updateSheetProperties": { "properties": properties, "fields": "title" } }])
    };
    line.change(rename("Antworten")).await;
    let running = line.start();
    ids.push(line.submit(now(), any()).await);
    eventually(DEADLINE, async || {
        let grid = line.get("/values/Antworten!A1:A9").await;
        grid["values"]
            .as_array()
            .is_some_and(|rows| rows.len() == 3)
    })
    .await;
    line.change(rename(TAB)).await;
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn while_a_person_has_taken_a_column_away_rows_wait() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    let tab = line.tab().await;
    let columns = |count: u64| {
        let grid = json!({ "columnCount": count, "rowCount": tab["gridProperties"]["rowCount"] });
        let properties = json!({ "sheetId": tab["sheetId"], "gridProperties": grid });
        let fields = "gridProperties.columnCount";
        json!([{ "updateSheetProperties": { "properties": properties, "fields": fields } }])
    };
    line.change(columns(2)).await;
    for _ in 0..4 {
        ids.push(line.submit(now(), any()).await);
    }
    // Refused with all rows, with half of them, with one, and with a blank one: it cannot be the rows.
    let name = r#"formline_sheets_requests_total{outcome="refused"}"#;
    eventually(DEADLINE, async || running.metric(name).await >= 3.0).await;
    line.change(columns(4)).await;
    line.expect(&ids).await;
    assert_eq!(line.dead_letters().await, []);
    running.stop().await;
}

fn columns(sheet: &Value, start: u64, end: u64) -> Value {
    json!({ "sheetId": sheet, "dimension": "COLUMNS", "startIndex": start, "endIndex": end })
}

#[tokio::test]
async fn a_column_that_a_person_has_inserted_stops_a_sink_that_starts() {
    let (line, mut ids) = Line::with_a_row().await;
    let sheet = line.tab().await["sheetId"].clone();
    line.change(json!([{ "insertDimension": { "range": columns(&sheet, 3, 4) } }]))
        .await;
    let running = line.start();
    ids.push(line.submit(now(), any()).await);
    running
        .expect_stopped("inserted, moved or deleted: `ROLL`")
        .await;
    assert_eq!(line.ids().await.len(), 1, "nothing stands in its place");
    running.stop().await;
    // What helps is what the error says. A heading may have another name, and something may stand on the right.
    let edit = |column: u64, text: &str| {
        let start = json!({ "sheetId": sheet, "rowIndex": 0, "columnIndex": column });
        let cell = json!({ "userEnteredValue": { "stringValue": text } });
        let rows = json!([{ "values": [cell] }]);
        json!({ "updateCells": { "start": start, "rows": rows, "fields": "userEnteredValue" } })
    };
    line.change(json!([
        { "deleteDimension": { "range": columns(&sheet, 3, 4) } },
        edit(3, "Matriculation number"),
        { "insertDimension": { "range": columns(&sheet, 4, 5) } },
        edit(4, "mine"),
    ]))
    .await;
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_column_that_a_person_deletes_stops_the_sink_at_the_refusal() {
    let line = Line::new().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(std::slice::from_ref(&id)).await;
    let sheet = line.tab().await["sheetId"].clone();
    line.change(json!([{ "deleteDimension": { "range": columns(&sheet, 1, 2) } }]))
        .await;
    line.submit(now(), any()).await;
    running.expect_stopped("`Note` is not where").await;
    assert_eq!(line.ids().await, [id]);
    assert_eq!(line.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test]
async fn a_column_that_a_person_inserts_stops_the_sink_at_the_next_look() {
    let line = Line::new().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    let sheet = line.tab().await["sheetId"].clone();
    line.change(json!([{ "insertDimension": { "range": columns(&sheet, 0, 1) } }]))
        .await;
    // It looks before it writes.
    let submissions = async {
        loop {
            line.submit(now(), any()).await;
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
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
    let mut line = Line::new().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    running.stop().await;
    let search = json!([{ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": 5, "metadataKey": "formline", "visibility": "DOCUMENT", "location": { "sheetId": 7 },
        "metadataValue": line.newest_mark().await.replace(&line.tab().await["sheetId"].to_string(), "7"),
    } } }]);
    line.settings.spreadsheet = unique("copy");
    line.change(json!([{ "addSheet": { "properties": { "title": TAB, "sheetId": 7 } } }]))
        .await;
    line.change(search).await;
    let running = line.start();
    running.expect_stopped("is a copy of").await;
    running.stop().await;
}

#[tokio::test]
async fn a_topic_that_was_made_again_stops_the_sink_until_it_has_another_spreadsheet() {
    let mut line = Line::new().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(&[id]).await;
    line.expect_committed().await;
    running.stop().await;
    make_again(&mut line).await;
    let running = line.start();
    running
        .expect_stopped("offsets start over; name a new spreadsheet")
        .await;
    running.stop().await;
    let ids = [line.submit(now(), any()).await];
    line.settings.spreadsheet = unique("sheet");
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
}

/// Metadata that stands in the spreadsheet before the sink comes.
fn metadata(id: i64, sheet: &Value, value: &str) -> Value {
    json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": id, "metadataKey": "formline", "metadataValue": value,
        "visibility": "DOCUMENT", "location": { "sheetId": sheet },
    } } })
}

#[tokio::test]
async fn two_large_marks_need_not_fit_beside_what_an_add_on_keeps() {
    let line = Line::new().await;
    let running = line.start();
    // Names of columns for a mark of more than 7,500 characters.
    let wide: Value = (0..78)
        .map(|n| cell(&format!("{n}{}", "x".repeat(90)), n))
        .collect();
    let mut ids = vec![line.submit(now(), wide.clone()).await];
    line.expect(&ids).await;
    let mark = line.newest_mark().await.len();
    assert!(2 * mark > 15_000, "{mark}");
    let note = json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataKey": "add-on", "metadataValue": "x".repeat(30_000 - 15_000),
        "visibility": "DOCUMENT", "location": { "sheetId": line.tab().await["sheetId"] },
    } } });
    line.change(json!([note])).await;
    for _ in 0..3 {
        ids.push(line.submit(now(), wide.clone()).await);
        line.expect(&ids).await;
    }
    let refused = r#"formline_sheets_requests_total{outcome="refused"}"#;
    assert_eq!(running.metric(refused).await, 0.0);
    running.stop().await;
}

#[tokio::test]
async fn a_tab_whose_mark_cannot_move_on_stops_the_sink_until_it_has_a_further_spreadsheet() {
    let mut line = Line::new().await;
    let running = line.start();
    let id = line.submit(now(), any()).await;
    line.expect(std::slice::from_ref(&id)).await;
    running.stop().await;
    let sheet = line.tab().await["sheetId"].clone();
    let last_but_one = metadata((1 << 24) - 2, &sheet, &line.newest_mark().await);
    line.change(json!([last_but_one])).await;
    let running = line.start();
    let next = line.submit(now(), any()).await;
    running.expect_stopped("name another spreadsheet").await;
    assert_eq!(line.ids().await, [id]);
    running.stop().await;
    let further = unique("sheet");
    line.settings.further = vec![further.clone()];
    let running = line.start();
    eventually(DEADLINE, async || {
        line.ids_in(&further).await == [next.clone()]
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_spreadsheet_with_too_many_tabs_stops_the_sink() {
    let line = Line::new().await;
    let marks: Value = (0..128)
        .map(|tab| metadata((tab << 24) + 1, &json!(0), "1"))
        .collect();
    line.change(marks).await;
    let running = line.start();
    line.submit(now(), any()).await;
    running.expect_stopped("128 sinks").await;
    running.stop().await;
}
