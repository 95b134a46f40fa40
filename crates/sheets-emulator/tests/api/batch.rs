//! `batchUpdate`: requests are applied in order, all or none, with one reply per request.

use serde_json::json;

use crate::harness::{ID, Server, add_sheet, append, checkpoint};

#[tokio::test]
async fn an_unknown_id_is_an_empty_spreadsheet() {
    let (server, _folder) = Server::start().await;
    let shown = server.get(&format!("/v4/spreadsheets/{ID}")).await.ok();
    assert_eq!(shown["spreadsheetId"], ID);
    assert_eq!(shown["properties"]["title"], ID);
    assert_eq!(
        shown["sheets"],
        json!([{ "properties": {
            "sheetId": 0, "title": "Sheet1", "index": 0, "sheetType": "GRID",
            "gridProperties": { "rowCount": 1000, "columnCount": 26 },
        } }])
    );
    assert_eq!(server.values("Sheet1").await, json!([]));
}

#[tokio::test]
async fn rows_and_checkpoint_are_written_together() {
    let (server, _folder) = Server::start().await;
    let response = server
        .batch(json!([
            checkpoint(1, 0, "a"),
            append(0, &[&["1", "Ada"], &["2", "Alan"]])
        ]))
        .await
        .ok();
    assert_eq!(response["spreadsheetId"], ID);
    assert_eq!(response["replies"].as_array().unwrap().len(), 2);
    assert_eq!(
        response["replies"][0]["createDeveloperMetadata"]["developerMetadata"]["metadataId"],
        1
    );
    assert_eq!(response["replies"][1], json!({}));
    assert_eq!(
        server.values("Sheet1").await,
        json!([["1", "Ada"], ["2", "Alan"]])
    );
    assert_eq!(server.metadata_ids().await, [1]);
}

#[tokio::test]
async fn a_batch_with_one_invalid_request_changes_nothing() {
    let (server, _folder) = Server::start().await;
    let bad = [
        append(77, &[&["x"]]),
        json!({ "sortTheWorld": {} }),
        json!({ "deleteNamedRange": { "namedRangeId": "none" } }),
        json!({}),
        json!({ "appendCells": { "rows": [], "fields": "*" }, "addSheet": {} }),
        json!("text"),
    ];
    for bad in bad {
        let message = server
            .batch(json!([append(0, &[&["x"]]), checkpoint(1, 0, "a"), bad]))
            .await
            .invalid();
        assert!(message.contains("requests[2]"), "{message}");
        assert_eq!(server.values("Sheet1").await, json!([]));
        assert!(server.metadata_ids().await.is_empty());
    }
}

#[tokio::test]
async fn a_second_write_with_the_same_checkpoint_is_rejected() {
    let (server, _folder) = Server::start().await;
    let batch = json!([append(0, &[&["1"]]), checkpoint(1, 0, "a")]);
    server.batch(batch.clone()).await.ok();
    let message = server.batch(batch).await.invalid();
    assert!(
        message.starts_with("Invalid requests[1].createDeveloperMetadata: "),
        "{message}"
    );
    assert!(message.contains("already exists"), "{message}");
    assert_eq!(server.values("Sheet1").await, json!([["1"]]));
}

#[tokio::test]
async fn exactly_one_of_several_concurrent_equal_batches_is_applied() {
    let (server, _folder) = Server::start().await;
    let batch = json!([append(0, &[&["1"]]), checkpoint(1, 0, "a")]);
    let answers = futures::future::join_all((0..8).map(|_| server.batch(batch.clone()))).await;
    assert_eq!(
        answers
            .iter()
            .filter(|response| response.status == 200)
            .count(),
        1
    );
    assert_eq!(server.values("Sheet1").await, json!([["1"]]));
}

#[tokio::test]
async fn unknown_names_are_rejected_like_by_google() {
    let (server, _folder) = Server::start().await;
    let response = server.batch(json!([{ "sortTheWorld": {} }])).await;
    assert_eq!(
        response.body["error"]["details"][0]["fieldViolations"][0]["field"],
        "requests[0]"
    );
    let message = response.invalid();
    assert_eq!(
        message,
        "Invalid JSON payload received. Unknown name \"sortTheWorld\" at 'requests[0]': Cannot find field."
    );
    let message = server
        .batch(json!([{ "appendCells": { "sheet": 0 } }]))
        .await
        .invalid();
    assert!(
        message.contains("Unknown name \"sheet\" at 'requests[0].appendCells'"),
        "{message}"
    );
    let message = server.batch(json!([])).await.invalid();
    assert_eq!(message, "Must specify at least one request.");
}

#[tokio::test]
async fn appending_starts_after_the_last_row_with_data() {
    let (server, _folder) = Server::start().await;
    let bold = json!({ "userEnteredFormat": { "textFormat": { "bold": true } } });
    let update = json!({ "updateCells": {
        "start": { "sheetId": 0, "rowIndex": 4, "columnIndex": 1 },
        "rows": [{ "values": [{ "userEnteredValue": { "numberValue": 5 } }] }, { "values": [bold] }],
        "fields": "*",
    } });
    server
        .batch(json!([update, append(0, &[&["next"]])]))
        .await
        .ok();
    assert_eq!(
        server.values("Sheet1").await,
        json!([[], [], [], [], ["", "5"], ["next"]])
    );
}

#[tokio::test]
async fn appending_grows_the_grid() {
    let (server, _folder) = Server::start().await;
    let small = json!({ "updateSheetProperties": {
        "properties": { "sheetId": 0, "gridProperties": { "rowCount": 2, "columnCount": 2 } },
        "fields": "gridProperties(rowCount,columnCount)",
    } });
    server
        .batch(json!([small, append(0, &[&["1"], &["2"], &["3"]])]))
        .await
        .ok();
    let shown = server
        .get(&format!(
            "/v4/spreadsheets/{ID}?fields=sheets.properties.gridProperties"
        ))
        .await
        .ok();
    assert_eq!(
        shown,
        json!({ "sheets": [{ "properties": { "gridProperties": { "rowCount": 3, "columnCount": 2 } } }] })
    );
    let message = server
        .batch(json!([append(0, &[&["1", "2", "3"]])]))
        .await
        .invalid();
    assert_eq!(
        message,
        "Invalid requests[0].appendCells: Attempting to write column: 2, beyond the last requested column of: 1"
    );
}

#[tokio::test]
async fn update_cells_clears_the_rest_of_its_range() {
    let (server, _folder) = Server::start().await;
    let range = json!({ "sheetId": 0, "startRowIndex": 0, "endRowIndex": 3, "startColumnIndex": 0, "endColumnIndex": 2 });
    let update = json!({ "updateCells": {
        "range": range,
        "rows": [{ "values": [{ "userEnteredValue": { "boolValue": true } }] }],
        "fields": "userEnteredValue",
    } });
    let rows: [&[&str]; 4] = [&["a", "b", "c"], &["d", "e", "f"], &["g"], &["h"]];
    server.batch(json!([append(0, &rows), update])).await.ok();
    assert_eq!(
        server.values("Sheet1").await,
        json!([["TRUE", "", "c"], ["", "", "f"], [], ["h"]])
    );
}

#[tokio::test]
async fn tabs_are_added_renamed_moved_and_deleted() {
    let (server, _folder) = Server::start().await;
    let rename = json!({ "updateSheetProperties": {
        "properties": { "sheetId": 5, "title": "Answers", "index": 0, "hidden": true,
            "gridProperties": { "frozenRowCount": 1 } },
        "fields": "title,index,hidden,gridProperties.frozenRowCount",
    } });
    let body = json!({
        "requests": [add_sheet(5, "Responses"), { "addSheet": {} }, rename, { "deleteSheet": { "sheetId": 0 } }],
        "includeSpreadsheetInResponse": true,
    });
    let response = server
        .post(&format!("/v4/spreadsheets/{ID}:batchUpdate"), &body)
        .await
        .ok();
    assert_eq!(
        response["replies"][0]["addSheet"]["properties"]["title"],
        "Responses"
    );
    assert_eq!(
        response["replies"][1]["addSheet"]["properties"]["title"],
        "Sheet3"
    );
    let sheets = response["updatedSpreadsheet"]["sheets"].as_array().unwrap();
    let titles: Vec<_> = sheets
        .iter()
        .map(|sheet| &sheet["properties"]["title"])
        .collect();
    assert_eq!(titles, ["Answers", "Sheet3"]);
    assert_eq!(
        sheets[0]["properties"]["gridProperties"]["frozenRowCount"],
        1
    );
    assert_eq!(sheets[0]["properties"]["hidden"], true);
}

#[tokio::test]
async fn tabs_follow_the_rules_of_google() {
    let (server, _folder) = Server::start().await;
    server.batch(json!([add_sheet(5, "Responses")])).await.ok();
    let properties = |properties, fields: &str| json!({ "updateSheetProperties": { "properties": properties, "fields": fields } });
    for (request, why) in [
        (
            add_sheet(6, "responses"),
            "A sheet with the name \"responses\" already exists",
        ),
        (add_sheet(5, "Other"), "already exists"),
        (add_sheet(-1, "Other"), "must not be negative"),
        (add_sheet(6, ""), "1 to 100 characters"),
        (
            json!({ "addSheet": { "properties": { "index": 9 } } }),
            "Invalid index",
        ),
        (
            json!({ "addSheet": { "properties": { "sheetType": "OBJECT" } } }),
            "type GRID",
        ),
        (
            json!({ "addSheet": { "properties": { "gridProperties": { "rowCount": 0 } } } }),
            "at least one row",
        ),
        (
            json!({ "deleteSheet": { "sheetId": 99 } }),
            "No grid with id: 99",
        ),
        (
            properties(json!({ "sheetId": 5 }), ""),
            "At least one field",
        ),
        (
            properties(json!({ "sheetId": 5 }), "tabColor"),
            "cannot update the field 'tabColor'",
        ),
        (
            properties(json!({ "sheetId": 5, "index": 9 }), "index"),
            "Invalid index",
        ),
        (
            properties(
                json!({ "sheetId": 5, "gridProperties": { "frozenRowCount": 1000 } }),
                "*",
            ),
            "1 to 100 characters",
        ),
    ] {
        let message = server.batch(json!([request])).await.invalid();
        assert!(message.contains(why), "{message}");
    }
    let all = json!([{ "deleteSheet": { "sheetId": 5 } }, { "deleteSheet": { "sheetId": 0 } }]);
    let message = server.batch(all).await.invalid();
    assert_eq!(
        message,
        "Invalid requests[1].deleteSheet: You can't remove all the sheets in a document."
    );
}

#[tokio::test]
async fn a_smaller_grid_loses_the_cells_outside_of_it() {
    let (server, _folder) = Server::start().await;
    let grid = |rows, columns| {
        json!({ "updateSheetProperties": {
            "properties": { "sheetId": 0, "gridProperties": { "rowCount": rows, "columnCount": columns } },
            "fields": "gridProperties.rowCount,gridProperties.columnCount",
        } })
    };
    let rows: [&[&str]; 3] = [&["a", "b"], &["c"], &["d"]];
    server
        .batch(json!([append(0, &rows), grid(2, 1), grid(10, 10)]))
        .await
        .ok();
    assert_eq!(server.values("Sheet1").await, json!([["a"], ["c"]]));
}

#[tokio::test]
async fn named_ranges_have_unique_ids_and_names() {
    let (server, _folder) = Server::start().await;
    let add = |id: &str, name: &str| {
        json!({ "addNamedRange": { "namedRange": {
            "namedRangeId": id, "name": name,
            "range": { "sheetId": 0, "startRowIndex": 0, "endRowIndex": 1 },
        } } })
    };
    let response = server
        .batch(json!([add("m1", "mark"), append(0, &[&["a"], &["b"]])]))
        .await
        .ok();
    assert_eq!(
        response["replies"][0]["addNamedRange"]["namedRange"]["namedRangeId"],
        "m1"
    );
    assert_eq!(server.values("mark").await, json!([["a"]]));
    for (request, why) in [
        (add("m1", "other"), "already exists"),
        (add("m2", "MARK"), "already exists"),
        (add("m2", "not a name"), "Invalid name"),
        (
            json!({ "deleteNamedRange": { "namedRangeId": "m9" } }),
            "No named range with id: m9",
        ),
        (
            json!({ "addNamedRange": { "namedRange": { "name": "n", "range": { "startRowIndex": 4294967295u32, "endRowIndex": 1 } } } }),
            "must not be empty",
        ),
    ] {
        let message = server.batch(json!([request])).await.invalid();
        assert!(message.contains(why), "{message}");
    }
    server
        .batch(json!([{ "deleteNamedRange": { "namedRangeId": "m1" } }, add("m1", "mark")]))
        .await
        .ok();
}
