//! The pages: what a user sees, and that the content of cells cannot run as code.

use serde_json::json;

use crate::harness::{ID, Server, add_sheet, append};

async fn html(server: &Server, path: &str) -> (u16, String, String) {
    let response = server
        .http
        .get(format!("{}{path}", server.base))
        .send()
        .await
        .unwrap();
    let policy = response
        .headers()
        .get("content-security-policy")
        .map(|value| value.to_str().unwrap().to_owned());
    (
        response.status().as_u16(),
        policy.unwrap_or_default(),
        response.text().await.unwrap(),
    )
}

#[tokio::test]
async fn a_tab_shows_its_rows_as_escaped_text() {
    let (server, _folder) = Server::start().await;
    let attack = "<script>alert(1)</script>";
    server
        .batch(json!([
            add_sheet(5, "<b> & / 'tab'"),
            append(0, &[&["roll", attack], &["7", "\"><img src=x>"]])
        ]))
        .await
        .ok();
    let (status, policy, page) = html(&server, &format!("/spreadsheets/{ID}")).await;
    assert_eq!(status, 200);
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'"),
        "{policy}"
    );
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    assert!(
        !page.contains(attack) && !page.contains("<img") && !page.contains("<b>"),
        "{page}"
    );
    assert!(page.contains("2 rows"), "{page}");
    assert!(
        page.contains(&format!(
            "/spreadsheets/{ID}/%3Cb%3E%20%26%20%2F%20%27tab%27"
        )),
        "{page}"
    );
    let (status, _, page) = html(
        &server,
        &format!("/spreadsheets/{ID}/%3Cb%3E%20%26%20%2F%20%27tab%27"),
    )
    .await;
    assert_eq!(status, 200);
    assert!(page.contains("No rows yet"), "{page}");
}

#[tokio::test]
async fn the_first_page_lists_spreadsheets_and_tabs() {
    let (server, _folder) = Server::start().await;
    assert!(
        html(&server, "/")
            .await
            .2
            .contains("There are no spreadsheets yet")
    );
    server
        .batch(json!([add_sheet(5, "Responses"), append(5, &[&["x"]])]))
        .await
        .ok();
    let page = html(&server, "/").await.2;
    assert!(
        page.contains(&format!("href=\"/spreadsheets/{ID}/Responses\"")),
        "{page}"
    );
    assert!(page.contains("1 row<"), "{page}");
    assert_eq!(html(&server, "/spreadsheets/unknown").await.0, 404);
    assert_eq!(
        html(&server, &format!("/spreadsheets/{ID}/unknown"))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn the_newest_rows_are_shown_with_a_link_to_older_ones() {
    let (server, _folder) = Server::start().await;
    let texts: Vec<String> = (1..=1_201).map(|row| format!("row-{row}-")).collect();
    let rows: Vec<[&str; 1]> = texts.iter().map(|text| [text.as_str()]).collect();
    let rows: Vec<&[&str]> = rows.iter().map(|row| &row[..]).collect();
    let freeze = json!({ "updateSheetProperties": {
        "properties": { "sheetId": 0, "gridProperties": { "frozenRowCount": 1 } },
        "fields": "gridProperties.frozenRowCount",
    } });
    server.batch(json!([append(0, &rows), freeze])).await.ok();
    let path = format!("/spreadsheets/{ID}/Sheet1");
    let page = html(&server, &path).await.2;
    for (row, shown) in [(1, true), (701, false), (702, true), (1_201, true)] {
        assert_eq!(page.contains(&format!("row-{row}-")), shown, "{row}");
    }
    assert!(page.contains("Rows 702–1,201 of 1,201"), "{page}");
    assert!(page.contains(&format!("{path}?end=701")), "{page}");
    let older = html(&server, &format!("{path}?end=701")).await.2;
    assert!(
        older.contains("row-202-") && older.contains("row-701-") && !older.contains("row-702-")
    );
    assert!(older.contains("Newest"), "{older}");
    // An invalid parameter shows the newest rows.
    assert!(
        html(&server, &format!("{path}?end=-1"))
            .await
            .2
            .contains("row-1201-")
    );
}

#[tokio::test]
async fn a_fragment_contains_only_what_the_script_replaces() {
    let (server, _folder) = Server::start().await;
    server.batch(json!([append(0, &[&["x"]])])).await.ok();
    let (_, _, fragment) = html(&server, &format!("/spreadsheets/{ID}?fragment")).await;
    assert!(fragment.starts_with("<div class=\"bar\">"), "{fragment}");
    for (path, kind) in [
        ("/assets/page.js", "text/javascript"),
        ("/assets/page.css", "text/css"),
    ] {
        let response = server
            .http
            .get(format!("{}{path}", server.base))
            .send()
            .await
            .unwrap();
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with(kind)
        );
    }
}

#[tokio::test]
async fn cells_are_styled_by_the_type_of_their_value() {
    let (server, _folder) = Server::start().await;
    let cells = json!([
        { "userEnteredValue": { "numberValue": 7 } },
        { "userEnteredValue": { "boolValue": false } },
        { "userEnteredValue": { "formulaValue": "=A1" } },
        { "userEnteredValue": { "stringValue": "head" }, "userEnteredFormat": { "textFormat": { "bold": true } } },
        { "userEnteredValue": { "stringValue": "ä".repeat(400) } },
    ]);
    server
        .batch(json!([{ "appendCells": { "rows": [{ "values": cells }], "fields": "*" } }]))
        .await
        .ok();
    let page = html(&server, &format!("/spreadsheets/{ID}")).await.2;
    for part in [
        "<td class=\"number\">7<",
        "<td class=\"bool\">FALSE<",
        "<td class=\"formula\">=A1<",
        "<b>head</b>",
        "…",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains(&"ä".repeat(301)));
}
