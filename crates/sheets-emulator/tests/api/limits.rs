//! The limits of Google and of the emulator.

use formline_sheets_emulator::Quota;
use serde_json::{Value, json};

use crate::harness::{ID, Server, add_sheet, append, folder};

#[tokio::test]
async fn a_cell_has_at_most_50_000_characters() {
    let (server, _folder) = Server::start().await;
    server
        .batch(json!([append(0, &[&[&"ä".repeat(50_000)]])]))
        .await
        .ok();
    let message = server
        .batch(json!([append(0, &[&[&"ä".repeat(50_001)]])]))
        .await
        .invalid();
    assert_eq!(
        message,
        "Invalid requests[0].appendCells: Your input contains more than the maximum of 50000 characters in a single cell."
    );
    let formula = json!({ "values": [{ "userEnteredValue": { "formulaValue": "A1" } }] });
    let request = json!({ "appendCells": { "rows": [formula], "fields": "*" } });
    assert!(
        server
            .batch(json!([request]))
            .await
            .invalid()
            .contains("must start with '='")
    );
}

#[tokio::test]
async fn a_spreadsheet_has_at_most_10_million_cells() {
    let (server, _folder) = Server::start().await;
    let fill =
        json!({ "appendDimension": { "sheetId": 0, "dimension": "ROWS", "length": 383_615 } });
    // 384,615 rows with 26 columns leave room for 10 cells.
    server.batch(json!([fill])).await.ok();
    let column = |rows: u32| {
        json!({ "addSheet": { "properties": { "sheetId": 5, "title": "Last",
            "gridProperties": { "rowCount": rows, "columnCount": 1 } } } })
    };
    let full = "above the limit of 10000000 cells.";
    assert!(
        server
            .batch(json!([column(11)]))
            .await
            .invalid()
            .contains(full)
    );
    server.batch(json!([column(10)])).await.ok();
    let rows = vec![&["x"][..]; 11];
    for request in [
        append(5, &rows),
        json!({ "appendDimension": { "sheetId": 5, "dimension": "COLUMNS", "length": 1 } }),
        json!({ "appendDimension": { "sheetId": 5, "dimension": "ROWS", "length": u32::MAX } }),
        json!({ "updateSheetProperties": { "fields": "gridProperties.rowCount",
            "properties": { "sheetId": 5, "gridProperties": { "rowCount": 11 } } } }),
        add_sheet(6, "More"),
    ] {
        let message = server.batch(json!([request])).await.invalid();
        assert!(message.contains(full), "{message}");
    }
    server.batch(json!([append(5, &rows[1..])])).await.ok();
}

/// A batch that writes `rows` x `columns` cells with `updateCells`.
fn update(field: &str, target: Value, rows: usize, columns: usize) -> Value {
    let cell = json!({ "userEnteredValue": { "stringValue": "x" } });
    let rows = vec![json!({ "values": vec![cell; columns] }); rows];
    json!([{ "updateCells": { field: target, "rows": rows, "fields": "*" } }])
}

#[tokio::test]
async fn cells_must_be_inside_the_grid() {
    let (server, _folder) = Server::start().await;
    let range = json!({ "sheetId": 0, "startRowIndex": 0, "endRowIndex": 1, "startColumnIndex": 0, "endColumnIndex": 1 });
    for (request, why) in [
        (
            update("start", json!({ "rowIndex": 1000 }), 1, 1),
            "exceeds grid limits. Max rows: 1000, max columns: 26",
        ),
        (
            update("start", json!({ "columnIndex": 26 }), 1, 1),
            "exceeds grid limits",
        ),
        (
            update("start", json!({ "rowIndex": 999 }), 2, 1),
            "Attempting to write row: 1000, beyond the last requested row of: 999",
        ),
        (
            update("start", json!({ "columnIndex": 25 }), 1, 2),
            "Attempting to write column: 26, beyond the last",
        ),
        (
            update(
                "range",
                json!({ "startRowIndex": 999, "endRowIndex": 1001 }),
                1,
                1,
            ),
            "exceeds grid limits",
        ),
        (
            update(
                "range",
                json!({ "startRowIndex": 5, "endRowIndex": 5 }),
                1,
                1,
            ),
            "exceeds grid limits",
        ),
        (
            update("range", range, 2, 1),
            "Attempting to write row: 1, beyond",
        ),
    ] {
        let message = server.batch(request).await.invalid();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn update_cells_needs_a_target_and_known_fields() {
    let (server, _folder) = Server::start().await;
    for (request, why) in [
        (
            json!([{ "updateCells": { "rows": [], "fields": "*" } }]),
            "Exactly one of start and range",
        ),
        (
            json!([{ "updateCells": { "start": {}, "rows": [] } }]),
            "At least one field must be listed in 'fields'",
        ),
        (
            json!([{ "updateCells": { "start": {}, "fields": "note" } }]),
            "does not store the field 'note'",
        ),
        (
            json!([{ "updateCells": { "start": {}, "fields": "a(" } }]),
            "Invalid field mask",
        ),
    ] {
        let message = server.batch(request).await.invalid();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn a_batch_has_at_most_100_000_requests() {
    let (server, _folder) = Server::start().await;
    let nothing = json!({ "appendCells": { "fields": "*" } });
    let message = server
        .batch(Value::Array(vec![nothing; 100_001]))
        .await
        .invalid();
    assert!(message.contains("100000 requests"), "{message}");
}

#[tokio::test]
async fn an_exceeded_quota_gets_429_with_the_details_of_google() {
    let folder = folder();
    let quota = Quota {
        writes_per_minute: 2,
        reads_per_minute: 1,
    };
    let server = Server::start_in(folder.path(), Some(quota)).await;
    server.batch(json!([append(0, &[&["1"]])])).await.ok();
    server.batch(json!([append(0, &[&["2"]])])).await.ok();
    let refused = server.batch(json!([append(0, &[&["3"]])])).await;
    assert_eq!(refused.status, 429);
    let error = &refused.body["error"];
    assert_eq!(error["status"], "RESOURCE_EXHAUSTED");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("'Write requests per minute per user'")
    );
    assert_eq!(
        error["details"][0]["@type"],
        "type.googleapis.com/google.rpc.ErrorInfo"
    );
    assert_eq!(error["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(
        error["details"][0]["metadata"]["quota_limit"],
        "WriteRequestsPerMinutePerUser"
    );
    // Reads have a separate quota.
    assert_eq!(server.values("Sheet1").await, json!([["1"], ["2"]]));
    let refused = server.get(&format!("/v4/spreadsheets/{ID}")).await;
    assert_eq!(
        refused.body["error"]["details"][0]["metadata"]["quota_limit_value"],
        "1"
    );
}

#[tokio::test]
async fn the_default_quota_is_that_of_google() {
    assert_eq!(
        Quota::default(),
        Quota {
            writes_per_minute: 60,
            reads_per_minute: 60
        }
    );
}
