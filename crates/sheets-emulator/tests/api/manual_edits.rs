//! Manual edits: rows and columns are inserted and deleted, and rows are sorted.

use serde_json::{Value, json};

use crate::harness::{ID, Reply, Server, append, folder};

async fn edit(server: &Server, requests: Value) -> Reply {
    let path = format!("/admin/spreadsheets/{ID}");
    server.post(&path, &json!({ "requests": requests })).await
}

fn rows(start: u64, end: u64) -> Value {
    json!({ "sheetId": 0, "dimension": "ROWS", "startIndex": start, "endIndex": end })
}

fn columns(start: u64, end: u64) -> Value {
    json!({ "sheetId": 0, "dimension": "COLUMNS", "startIndex": start, "endIndex": end })
}

fn sort(order: &str) -> Value {
    json!({ "sortRange": {
        "range": { "sheetId": 0, "startRowIndex": 1 },
        "sortSpecs": [{ "dimensionIndex": 0, "sortOrder": order }],
    } })
}

/// A request that attaches metadata to a row.
fn pin(id: i32, row: u64) -> Value {
    json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": id, "metadataKey": "pin", "visibility": "DOCUMENT",
        "location": { "dimensionRange": rows(row, row + 1) },
    } } })
}

#[tokio::test]
async fn rows_move_with_their_metadata() {
    let (server, _folder) = Server::start().await;
    let content: &[&[&str]] = &[&["head"], &["a"], &["b"], &["c"]];
    server
        .batch(json!([append(0, content), pin(1, 1), pin(2, 3), pin(3, 0)]))
        .await
        .ok();
    let insert = json!([{ "insertDimension": { "range": rows(2, 4), "inheritFromBefore": true } }]);
    edit(&server, insert).await.ok();
    assert_eq!(
        server.values("Sheet1").await,
        json!([["head"], ["a"], [], [], ["b"], ["c"]])
    );
    let delete = json!([{ "deleteDimension": { "range": rows(1, 4) } }]);
    edit(&server, delete).await.ok();
    assert_eq!(
        server.values("Sheet1").await,
        json!([["head"], ["b"], ["c"]])
    );
    assert_eq!(
        server.metadata_ids().await,
        [2, 3],
        "the metadata of `a` was not removed"
    );
    let pinned = server
        .get(&format!("/v4/spreadsheets/{ID}/developerMetadata/2"))
        .await
        .ok();
    assert_eq!(pinned["location"]["dimensionRange"]["startIndex"], 2);
    let shown = server.get(&format!("/v4/spreadsheets/{ID}")).await.ok();
    assert_eq!(
        shown["sheets"][0]["properties"]["gridProperties"]["rowCount"],
        999
    );
}

#[tokio::test]
async fn columns_move_with_their_metadata() {
    let (server, _folder) = Server::start().await;
    let pin = |id: i32, column: u64| {
        json!({ "createDeveloperMetadata": { "developerMetadata": {
            "metadataId": id, "metadataKey": "pin", "visibility": "DOCUMENT",
            "location": { "dimensionRange": columns(column, column + 1) },
        } } })
    };
    let content: &[&[&str]] = &[&["a", "b", "c"], &["1"], &["", "2"]];
    server
        .batch(json!([append(0, content), pin(1, 1), pin(2, 2)]))
        .await
        .ok();
    let insert = json!([{ "insertDimension": { "range": columns(1, 3) } }]);
    edit(&server, insert).await.ok();
    assert_eq!(
        server.values("Sheet1").await,
        json!([["a", "", "", "b", "c"], ["1"], ["", "", "", "2"]])
    );
    let delete = json!([{ "deleteDimension": { "range": columns(0, 4) } }]);
    edit(&server, delete).await.ok();
    assert_eq!(server.values("Sheet1").await, json!([["c"]]));
    assert_eq!(
        server.metadata_ids().await,
        [2],
        "the metadata of `b` was not removed"
    );
    let shown = server.get(&format!("/v4/spreadsheets/{ID}")).await.ok();
    let grid = &shown["sheets"][0]["properties"]["gridProperties"];
    assert_eq!(grid["columnCount"], 24);
}

#[tokio::test]
async fn rows_are_sorted_below_the_heading() {
    let (server, _folder) = Server::start().await;
    let cell = |value: Value| json!({ "values": [{ "userEnteredValue": value }, { "userEnteredValue": { "stringValue": "x" } }] });
    let values = [
        json!({ "stringValue": "head" }),
        json!({ "boolValue": true }),
        json!({ "stringValue": "b" }),
        json!({ "numberValue": 10 }),
        Value::Null,
        json!({ "numberValue": 9 }),
    ];
    let values: Vec<Value> = values.into_iter().map(cell).collect();
    let write =
        json!([{ "appendCells": { "sheetId": 0, "rows": values, "fields": "userEnteredValue" } }]);
    server.batch(write).await.ok();
    let first = async || {
        let values = server.values("Sheet1!A2:A").await;
        let rows = values.as_array().cloned().unwrap_or_default().into_iter();
        rows.map(|row| row[0].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    edit(&server, json!([sort("ASCENDING")])).await.ok();
    assert_eq!(first().await, ["9", "10", "b", "TRUE"]);
    edit(&server, json!([sort("DESCENDING")])).await.ok();
    assert_eq!(first().await, ["TRUE", "b", "10", "9"]);
}

#[tokio::test]
async fn faults_and_quotas_do_not_apply_to_manual_edits() {
    let folder = folder();
    let quota = formline_sheets_emulator::Quota {
        writes_per_minute: 0,
        reads_per_minute: 10,
    };
    let server = Server::start_in(folder.path(), Some(quota)).await;
    server.plan_faults(json!([{ "kind": "refuse" }])).await;
    edit(&server, json!([append(0, &[&["x"]])])).await.ok();
    assert_eq!(server.values("Sheet1").await, json!([["x"]]));
    let planned = server.get("/admin/faults").await.ok();
    assert_eq!(planned.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn invalid_moves_are_rejected() {
    let (server, _folder) = Server::start().await;
    let by_two = json!([{ "dimensionIndex": 0 }, { "dimensionIndex": 1 }]);
    for bad in [
        json!({ "insertDimension": { "range": columns(27, 28) } }),
        json!({ "insertDimension": { "range": columns(0, 20_000) } }),
        json!({ "deleteDimension": { "range": columns(0, 26) } }),
        json!({ "deleteDimension": { "range": columns(25, 27) } }),
        json!({ "insertDimension": { "range": rows(3, 3) } }),
        json!({ "insertDimension": { "range": rows(1_001, 1_002) } }),
        json!({ "insertDimension": { "range": rows(0, 1_000_000) } }),
        json!({ "deleteDimension": { "range": rows(0, 1_000) } }),
        json!({ "deleteDimension": { "range": rows(999, 1_001) } }),
        json!({ "sortRange": { "range": {}, "sortSpecs": by_two } }),
        json!({ "sortRange": { "range": { "startColumnIndex": 1 }, "sortSpecs": [{}] } }),
    ] {
        edit(&server, json!([bad])).await.invalid();
    }
    let name = json!({ "addNamedRange": { "namedRange": { "name": "n", "range": { "endRowIndex": 2, "endColumnIndex": 1 } } } });
    server.batch(json!([name])).await.ok();
    let insert = json!([{ "insertDimension": { "range": rows(0, 1) } }]);
    let message = edit(&server, insert).await.invalid();
    assert!(message.contains("named ranges"), "{message}");
}
