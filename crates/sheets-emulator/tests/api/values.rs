//! Reading and writing ranges in A1 notation.

use serde_json::{Value, json};

use crate::harness::{ID, Server, add_sheet, append};

const RAW: &str = "valueInputOption=RAW";

async fn with_a_table() -> (Server, tempfile::TempDir) {
    let (server, folder) = Server::start().await;
    let rows: [&[&str]; 4] = [
        &["id", "name", "note"],
        &["1", "Ada", ""],
        &[],
        &["3", "", "late"],
    ];
    server.batch(json!([append(0, &rows)])).await.ok();
    (server, folder)
}

async fn put(server: &Server, range: &str, query: &str, values: Value) -> crate::harness::Reply {
    server
        .put(
            &format!("/v4/spreadsheets/{ID}/values/{range}?{query}"),
            &json!({ "values": values }),
        )
        .await
}

#[tokio::test]
async fn ranges_are_read_without_empty_cells_at_the_end() {
    let (server, _folder) = with_a_table().await;
    for (range, values) in [
        (
            "Sheet1",
            json!([["id", "name", "note"], ["1", "Ada"], [], ["3", "", "late"]]),
        ),
        ("sheet1!A2:B3", json!([["1", "Ada"]])),
        ("A1", json!([["id"]])),
        ("Sheet1!B:B", json!([["name"], ["Ada"]])),
        ("Sheet1!A2:A", json!([["1"], [], ["3"]])),
        ("Sheet1!4:4", json!([["3", "", "late"]])),
        ("Sheet1!D1:Z99", json!([])),
    ] {
        assert_eq!(server.values(range).await, values, "{range}");
    }
}

#[tokio::test]
async fn a_response_contains_its_range() {
    let (server, _folder) = with_a_table().await;
    let read = async |path: &str| {
        server
            .get(&format!("/v4/spreadsheets/{ID}/values/{path}"))
            .await
    };
    let whole = read("Sheet1").await.ok();
    assert_eq!(whole["range"], "Sheet1!A1:Z1000");
    assert_eq!(whole["majorDimension"], "ROWS");
    let columns = read("Sheet1!A1:C2?majorDimension=COLUMNS").await.ok();
    assert_eq!(
        columns["values"],
        json!([["id", "1"], ["name", "Ada"], ["note"]])
    );
    for (range, why) in [
        ("Nowhere!A1", "Unable to parse range: Nowhere!A1"),
        ("Sheet1!A0", "Unable to parse range"),
        (
            "Sheet1!A1001",
            "exceeds grid limits. Max rows: 1000, max columns: 26",
        ),
        ("Sheet1!AA1:AB2", "exceeds grid limits"),
        (
            "A1?majorDimension=DIAGONAL",
            "Invalid value at 'majorDimension'",
        ),
    ] {
        let message = read(range).await.invalid();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn titles_that_need_quotes_are_found() {
    let (server, _folder) = Server::start().await;
    server
        .batch(json!([add_sheet(5, "it's / here?"), append(5, &[&["x"]])]))
        .await
        .ok();
    let read = server
        .get(&format!(
            "/v4/spreadsheets/{ID}/values/'it''s%20%2F%20here%3F'!A1"
        ))
        .await
        .ok();
    assert_eq!(read["range"], "'it''s / here?'!A1");
    assert_eq!(read["values"], json!([["x"]]));
}

#[tokio::test]
async fn several_ranges_are_read_at_once() {
    let (server, _folder) = with_a_table().await;
    let path = format!("/v4/spreadsheets/{ID}/values:batchGet");
    let read = server
        .get(&format!("{path}?ranges=A1&ranges=Sheet1!B2&alt=json"))
        .await
        .ok();
    assert_eq!(read["valueRanges"][0]["values"], json!([["id"]]));
    assert_eq!(read["valueRanges"][1]["values"], json!([["Ada"]]));
    server.get(&path).await.invalid();
}

#[tokio::test]
async fn raw_values_are_stored_unchanged_and_entered_ones_are_parsed() {
    let (server, _folder) = Server::start().await;
    let values = json!([["=A1", "1.50", true, 2.5, "'=x"], [null, ""]]);
    let response = put(&server, "Sheet1!A1", "valueInputOption=RAW", values.clone())
        .await
        .ok();
    assert_eq!(response["updatedRange"], "Sheet1!A1:E2");
    assert_eq!(response["updatedRows"], 2);
    assert_eq!(response["updatedCells"], 6);
    put(
        &server,
        "Sheet1!A3",
        "valueInputOption=USER_ENTERED",
        values,
    )
    .await
    .ok();
    assert_eq!(
        server.values("Sheet1").await,
        json!([
            ["=A1", "1.50", "TRUE", "2.5", "'=x"],
            [],
            ["=A1", "1.5", "TRUE", "2.5", "=x"]
        ])
    );
    let plain = server
        .values("Sheet1!A3:E3?valueRenderOption=UNFORMATTED_VALUE")
        .await;
    assert_eq!(plain, json!([["=A1", 1.5, true, 2.5, "=x"]]));
}

#[tokio::test]
async fn null_keeps_a_cell_and_an_empty_text_clears_it() {
    let (server, _folder) = with_a_table().await;
    let columns =
        json!({ "range": "A2:C2", "majorDimension": "COLUMNS", "values": [[null], ["Eve"], [""]] });
    server
        .put(
            &format!("/v4/spreadsheets/{ID}/values/A2:C2?valueInputOption=RAW"),
            &columns,
        )
        .await
        .ok();
    put(
        &server,
        "A1:B1",
        "valueInputOption=RAW",
        json!([[null, ""]]),
    )
    .await
    .ok();
    assert_eq!(
        server.values("A1:C2").await,
        json!([["id", "", "note"], ["1", "Eve"]])
    );
}

#[tokio::test]
async fn a_write_outside_of_its_range_changes_nothing() {
    let (server, _folder) = Server::start().await;
    for (range, values, why) in [
        (
            "A1:B1",
            json!([["a", "b", "c"]]),
            "tried writing to column [C]",
        ),
        ("A1:B1", json!([["a"], ["b"]]), "tried writing to row [2]"),
        ("Z1", json!([["a", "b"]]), "exceeds grid limits"),
        ("A1001", json!([["a"]]), "exceeds grid limits"),
    ] {
        let message = put(&server, range, RAW, values).await.invalid();
        assert!(message.contains(why), "{message}");
    }
    let other = json!({ "range": "B1", "values": [["a"]] });
    server
        .put(
            &format!("/v4/spreadsheets/{ID}/values/A1?valueInputOption=RAW"),
            &other,
        )
        .await
        .invalid();
    assert_eq!(server.values("Sheet1").await, json!([]));
}

#[tokio::test]
async fn a_write_with_an_invalid_option_or_value_changes_nothing() {
    let (server, _folder) = Server::start().await;
    for (query, values, why) in [
        (
            "",
            json!([["a"]]),
            "'valueInputOption' is required but not specified",
        ),
        (
            "valueInputOption=COOKED",
            json!([["a"]]),
            "Invalid value at 'valueInputOption'",
        ),
        (RAW, json!([["a", { "b": 1 }]]), "a cell must be a string"),
        (RAW, json!("a"), "Invalid value at 'data'"),
    ] {
        let message = put(&server, "A1", query, values).await.invalid();
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(server.values("Sheet1").await, json!([]));
}

/// A sheet with the two tables of Google's guide to reading and writing values: A1:C2 and B4:D6.
async fn with_two_tables() -> (Server, tempfile::TempDir) {
    let (server, folder) = Server::start().await;
    let rows: [&[&str]; 6] = [
        &["x", "y", "z"],
        &["x", "y", "z"],
        &[],
        &["", "x", "y", "z"],
        &["", "x", "y", "z"],
        &["", "x", "y", "z"],
    ];
    server.batch(json!([append(0, &rows)])).await.ok();
    (server, folder)
}

async fn append_values(server: &Server, range: &str, query: &str) -> crate::harness::Reply {
    let path = format!("/v4/spreadsheets/{ID}/values/{range}:append?{query}");
    let body = json!({ "values": [["1", "2"], ["3"]] });
    server.post(&path, &body).await
}

#[tokio::test]
async fn values_are_appended_to_the_last_table_in_a_range() {
    for (range, table, written) in [
        ("Sheet1", Some("Sheet1!B4:D6"), "Sheet1!B7:C8"),
        ("B4", Some("Sheet1!B4:D6"), "Sheet1!B7:C8"),
        ("B2:D4", Some("Sheet1!B4:D6"), "Sheet1!B7:C8"),
        ("A3:G10", Some("Sheet1!B4:D6"), "Sheet1!B7:C8"),
        ("A1", Some("Sheet1!A1:C2"), "Sheet1!A3:B4"),
        ("E4", None, "Sheet1!E4:F5"),
    ] {
        let (server, _folder) = with_two_tables().await;
        let response = append_values(&server, range, "valueInputOption=RAW")
            .await
            .ok();
        assert_eq!(response["tableRange"].as_str(), table, "{range}");
        assert_eq!(response["updates"]["updatedRange"], written, "{range}");
        assert_eq!(response["updates"]["updatedCells"], 3);
    }
}

#[tokio::test]
async fn appended_values_overwrite_existing_cells_or_move_them_down() {
    let (server, _folder) = with_two_tables().await;
    let raw = "valueInputOption=RAW";
    append_values(&server, "A1", raw).await.ok();
    assert_eq!(
        server.values("A3:B4").await,
        json!([["1", "2"], ["3", "x"]])
    );
    let (server, _folder) = with_two_tables().await;
    append_values(
        &server,
        "A1",
        &format!("{raw}&insertDataOption=INSERT_ROWS"),
    )
    .await
    .ok();
    let rows = json!([["1", "2"], ["3"], [], ["", "x"]]);
    assert_eq!(server.values("A3:B6").await, rows);
    append_values(&server, "A1", "").await.invalid();
    let odd = "valueInputOption=RAW&insertDataOption=SOMEWHERE";
    append_values(&server, "A1", odd).await.invalid();
}

#[tokio::test]
async fn the_grid_grows_for_appended_values() {
    let (server, _folder) = Server::start().await;
    let last = json!({ "values": [["end"]] });
    let put = format!("/v4/spreadsheets/{ID}/values/Z1000?valueInputOption=RAW");
    server.put(&put, &last).await.ok();
    let raw = "valueInputOption=RAW";
    let response = append_values(&server, "Z1000", raw).await.ok();
    assert_eq!(response["updates"]["updatedRange"], "Sheet1!Z1001:AA1002");
    assert_eq!(
        server.values("Z1001:AA1002").await,
        json!([["1", "2"], ["3"]])
    );
}

#[tokio::test]
async fn several_ranges_are_written_all_or_none() {
    let (server, _folder) = Server::start().await;
    let path = format!("/v4/spreadsheets/{ID}/values:batchUpdate");
    let write = async |second: &str, input: Value| {
        let data = json!([
            { "range": "A1", "values": [["1"]] },
            { "range": second, "values": [["2", "3"]] },
        ]);
        let body = json!({ "valueInputOption": input, "data": data });
        server.post(&path, &body).await
    };
    write("Nowhere!A1", json!("RAW")).await.invalid();
    write("B2", Value::Null).await.invalid();
    assert_eq!(server.values("Sheet1").await, json!([]));
    let response = write("B2", json!("RAW")).await.ok();
    assert_eq!(response["totalUpdatedCells"], 3);
    assert_eq!(response["responses"][1]["updatedRange"], "Sheet1!B2:C2");
    assert_eq!(
        server.values("Sheet1").await,
        json!([["1"], ["", "2", "3"]])
    );
}
