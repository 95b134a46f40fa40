//! Developer metadata: lookup, location and limits.

use serde_json::{Value, json};

use crate::harness::{ID, Server, add_sheet, append, checkpoint};

fn lookup(lookup: Value) -> Value {
    json!({ "dataFilters": [{ "developerMetadataLookup": lookup }] })
}

async fn search(server: &Server, by: Value) -> Value {
    server
        .post(
            &format!("/v4/spreadsheets/{ID}/developerMetadata:search"),
            &lookup(by),
        )
        .await
        .ok()
}

#[tokio::test]
async fn metadata_is_found_by_key_location_and_id() {
    let (server, _folder) = Server::start().await;
    server
        .batch(json!([
            add_sheet(5, "Responses"),
            checkpoint(1, 0, "a"),
            checkpoint(2, 5, "b")
        ]))
        .await
        .ok();
    let found = search(
        &server,
        json!({ "metadataKey": "formline", "metadataLocation": { "sheetId": 5 } }),
    )
    .await;
    let matched = found["matchedDeveloperMetadata"].as_array().unwrap();
    assert_eq!(matched.len(), 1);
    assert_eq!(
        matched[0]["developerMetadata"],
        json!({ "metadataId": 2, "metadataKey": "formline", "metadataValue": "b",
            "location": { "locationType": "SHEET", "sheetId": 5 }, "visibility": "DOCUMENT" })
    );
    assert_eq!(
        matched[0]["dataFilters"][0]["developerMetadataLookup"]["metadataKey"],
        "formline"
    );
    assert_eq!(
        search(&server, json!({ "metadataKey": "other" })).await,
        json!({})
    );

    let path = |id: &str| format!("/v4/spreadsheets/{ID}/developerMetadata/{id}");
    assert_eq!(server.get(&path("1")).await.ok()["metadataValue"], "a");
    assert_eq!(server.get(&path("9")).await.status, 404);
    server.get(&path("one")).await.invalid();
}

#[tokio::test]
async fn metadata_is_returned_with_the_spreadsheet() {
    let (server, _folder) = Server::start().await;
    let whole = json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataKey": "schema", "location": { "spreadsheet": true }, "visibility": "PROJECT",
    } } });
    server
        .batch(json!([checkpoint(1, 0, "a"), checkpoint(2, 0, "b"), whole]))
        .await
        .ok();
    let shown = server.get(&format!("/v4/spreadsheets/{ID}")).await.ok();
    assert_eq!(shown["developerMetadata"][0]["metadataKey"], "schema");
    assert!(
        shown["developerMetadata"][0]["metadataId"]
            .as_i64()
            .unwrap()
            > 0
    );
    assert_eq!(
        shown["sheets"][0]["developerMetadata"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn metadata_is_updated_and_deleted_by_lookup() {
    let (server, _folder) = Server::start().await;
    server
        .batch(json!([
            checkpoint(1, 0, "a"),
            checkpoint(2, 0, "b"),
            checkpoint(3, 0, "c")
        ]))
        .await
        .ok();
    let update = json!({ "updateDeveloperMetadata": {
        "dataFilters": [{ "developerMetadataLookup": { "metadataId": 2 } }],
        "developerMetadata": { "metadataValue": "new" },
        "fields": "metadataValue",
    } });
    let delete = |by: Value| json!({ "deleteDeveloperMetadata": { "dataFilter": { "developerMetadataLookup": by } } });
    let response = server
        .batch(json!([
            update,
            delete(json!({ "metadataId": 1 })),
            delete(json!({ "metadataId": 99 }))
        ]))
        .await
        .ok();
    let replies = &response["replies"];
    assert_eq!(
        replies[0]["updateDeveloperMetadata"]["developerMetadata"][0]["metadataValue"],
        "new"
    );
    assert_eq!(
        replies[1]["deleteDeveloperMetadata"]["deletedDeveloperMetadata"][0]["metadataId"],
        1
    );
    assert_eq!(
        replies[2]["deleteDeveloperMetadata"]["deletedDeveloperMetadata"],
        json!([])
    );
    assert_eq!(server.metadata_ids().await, [2, 3]);
}

#[tokio::test]
async fn metadata_is_removed_with_its_sheet_or_row() {
    let (server, _folder) = Server::start().await;
    let row = json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": 7, "metadataKey": "row", "visibility": "DOCUMENT",
        "location": { "dimensionRange": { "sheetId": 0, "dimension": "ROWS", "startIndex": 500, "endIndex": 501 } },
    } } });
    let crop = json!({ "updateSheetProperties": {
        "properties": { "sheetId": 0, "gridProperties": { "rowCount": 500 } },
        "fields": "gridProperties.rowCount",
    } });
    server
        .batch(json!([
            add_sheet(5, "Responses"),
            append(5, &[&["x"]]),
            checkpoint(1, 0, "a"),
            checkpoint(2, 5, "b"),
            row
        ]))
        .await
        .ok();
    server
        .batch(json!([{ "deleteSheet": { "sheetId": 5 } }, crop]))
        .await
        .ok();
    assert_eq!(server.metadata_ids().await, [1]);
    // A new sheet with the same id has no metadata.
    server
        .batch(json!([add_sheet(5, "Responses"), checkpoint(2, 5, "b")]))
        .await
        .ok();
    assert_eq!(server.values("Responses").await, json!([]));
}

#[tokio::test]
async fn metadata_must_be_complete_and_within_the_limits() {
    let (server, _folder) = Server::start().await;
    let create =
        |entry: Value| json!({ "createDeveloperMetadata": { "developerMetadata": entry } });
    let place = json!({ "sheetId": 0 });
    let outside =
        json!({ "dimensionRange": { "dimension": "COLUMNS", "startIndex": 26, "endIndex": 27 } });
    for (request, why) in [
        (checkpoint(0, 0, "a"), "must be positive"),
        (checkpoint(1, 99, "a"), "No grid with id: 99"),
        (
            create(json!({ "location": place, "visibility": "DOCUMENT" })),
            "must have a key",
        ),
        (
            create(json!({ "metadataKey": "k", "visibility": "DOCUMENT" })),
            "must have a location",
        ),
        (
            create(json!({ "metadataKey": "k", "location": place })),
            "must have a visibility",
        ),
        (
            create(json!({ "metadataKey": "k", "location": outside, "visibility": "DOCUMENT" })),
            "inside the grid",
        ),
        (
            create(json!({ "metadataKey": "k", "location": {}, "visibility": "DOCUMENT" })),
            "a location is one of",
        ),
        (checkpoint(1, 0, &"x".repeat(30_000)), "30000 characters"),
    ] {
        let message = server.batch(json!([request])).await.invalid();
        assert!(message.contains(why), "{message}");
    }
    // The limit applies to all entries of a sheet together.
    let half = "x".repeat(15_000);
    server.batch(json!([checkpoint(1, 0, &half)])).await.ok();
    assert!(
        server
            .batch(json!([checkpoint(2, 0, &half)]))
            .await
            .invalid()
            .contains("30000 characters")
    );
    server
        .batch(json!([add_sheet(5, "Other"), checkpoint(2, 5, &half)]))
        .await
        .ok();
}
