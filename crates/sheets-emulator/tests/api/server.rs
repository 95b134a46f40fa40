//! The server around the API: tokens, paths, bodies, and invalid requests.

use reqwest::Client;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{ID, Server, append, folder, send};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// `{"iss":"robot","exp":99999999999}` between two parts that the emulator ignores.
const ASSERTION: &str = "e30.eyJpc3MiOiJyb2JvdCIsImV4cCI6OTk5OTk5OTk5OTl9.c2ln";
/// `{"iss":"robot","exp":1}`
const EXPIRED: &str = "e30.eyJpc3MiOiJyb2JvdCIsImV4cCI6MX0.c2ln";

async fn token(server: &Server, grant: &str, assertion: &str) -> crate::harness::Reply {
    let form = [("grant_type", grant), ("assertion", assertion)];
    send(
        server
            .http
            .post(format!("{}/token", server.base))
            .form(&form),
    )
    .await
}

async fn show_with(http: &Client, base: &str, authorization: &str) -> u16 {
    let request = http.get(format!("{base}/v4/spreadsheets/{ID}"));
    send(request.header("authorization", authorization))
        .await
        .status
}

#[tokio::test]
async fn a_token_is_granted_and_survives_a_restart() {
    let folder = folder();
    let server = Server::start_in(folder.path(), None).await;
    let granted = token(&server, GRANT, ASSERTION).await.ok();
    assert_eq!(granted["token_type"], "Bearer");
    assert_eq!(granted["expires_in"], 3600);
    let bearer = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    assert_eq!(show_with(&server.http, &server.base, &bearer).await, 200);
    server.stop().await;
    let server = Server::start_in(folder.path(), None).await;
    assert_eq!(show_with(&server.http, &server.base, &bearer).await, 200);
}

#[tokio::test]
async fn an_invalid_grant_gets_an_oauth_error() {
    let (server, _folder) = Server::start().await;
    for (grant, assertion, error) in [
        ("password", ASSERTION, "unsupported_grant_type"),
        (GRANT, "", "invalid_grant"),
        (GRANT, "a.b.c", "invalid_grant"),
        (GRANT, "only-one-part", "invalid_grant"),
        (GRANT, EXPIRED, "invalid_grant"),
    ] {
        let response = token(&server, grant, assertion).await;
        assert_eq!(
            (response.status, &response.body["error"]),
            (400, &json!(error))
        );
    }
}

#[tokio::test]
async fn an_unknown_token_gets_401() {
    let (server, _folder) = Server::start().await;
    for authorization in ["Bearer ya29.other", "Basic YTpi", "Bearer", ""] {
        assert_eq!(
            show_with(&server.http, &server.base, authorization).await,
            401,
            "{authorization}"
        );
    }
    let body = json!({ "requests": [append(0, &[&["x"]])] });
    let request = server
        .http
        .post(format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base));
    let response = send(request.json(&body).bearer_auth("ya29.other")).await;
    assert_eq!(response.status, 401);
    assert_eq!(response.body["error"]["status"], "UNAUTHENTICATED");
    assert_eq!(server.values("Sheet1").await, json!([]));
}

#[tokio::test]
async fn a_spreadsheet_is_created_with_its_tabs() {
    let (server, _folder) = Server::start().await;
    let new = json!({
        "properties": { "title": "Students" },
        "sheets": [{ "properties": { "sheetId": 3, "title": "Responses", "gridProperties": { "columnCount": 4 } } }],
    });
    let created = server.post("/v4/spreadsheets", &new).await.ok();
    let id = created["spreadsheetId"].as_str().unwrap();
    let shown = server
        .get(&format!(
            "/v4/spreadsheets/{id}?fields=properties.title,sheets.properties.title"
        ))
        .await
        .ok();
    assert_eq!(
        shown,
        json!({ "properties": { "title": "Students" }, "sheets": [{ "properties": { "title": "Responses" } }] })
    );
    // The response contains the URL of its page.
    let page = server
        .http
        .get(created["spreadsheetUrl"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    server
        .post("/v4/spreadsheets", &json!({ "title": "not in properties" }))
        .await
        .invalid();
}

#[tokio::test]
async fn unknown_paths_and_methods_get_404_and_405_in_googles_format() {
    let (server, _folder) = Server::start().await;
    let long = format!("/v4/spreadsheets/{}", "a".repeat(101));
    for path in [
        "/nothing",
        "/v4/spreadsheets/a b",
        "/v4/spreadsheets/..%2F..",
        "/v4/spreadsheets/a:b",
        &long,
    ] {
        let response = server.get(path).await;
        assert_eq!(
            (response.status, &response.body["error"]["status"]),
            (404, &json!("NOT_FOUND")),
            "{path}"
        );
    }
    assert_eq!(
        server
            .post(&format!("/v4/spreadsheets/{ID}:sort"), &json!({}))
            .await
            .status,
        404
    );
    let response = send(
        server
            .http
            .delete(format!("{}/v4/spreadsheets/{ID}", server.base)),
    )
    .await;
    assert_eq!(
        (response.status, &response.body["error"]["code"]),
        (405, &json!(405))
    );
    server
        .get(&format!("/v4/spreadsheets/{ID}?includeGridData=true"))
        .await
        .invalid();
    server
        .get(&format!("/v4/spreadsheets/{ID}?fields=a("))
        .await
        .invalid();
}

#[tokio::test]
async fn invalid_bodies_are_rejected() {
    let (server, _folder) = Server::start().await;
    let path = format!("/v4/spreadsheets/{ID}:batchUpdate");
    let url = format!("{}{path}", server.base);
    let raw = |body: Vec<u8>| {
        server
            .http
            .post(&url)
            .header("content-type", "application/json")
            .body(body)
    };
    let nested = "[".repeat(100_000).into_bytes();
    for body in [
        b"".to_vec(),
        b"{".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        nested,
    ] {
        send(raw(body)).await.invalid();
    }
    for body in [
        json!({ "requests": 5 }),
        json!({ "request": [] }),
        json!({ "responseIncludeGridData": true }),
    ] {
        server.post(&path, &body).await.invalid();
    }
    for number in [
        "1e999",
        "-1",
        "1.5",
        "99999999999999999999",
        "null",
        "\"0\"",
    ] {
        let request = format!("{{\"requests\":[{{\"deleteSheet\":{{\"sheetId\":{number}}}}}]}}");
        send(raw(request.into_bytes())).await.invalid();
    }
    let form = server.http.post(&url).form(&[("requests", "[]")]);
    assert!(send(form).await.invalid().contains("application/json"));
    assert_eq!(server.values("Sheet1").await, json!([]));
}

#[tokio::test]
async fn a_body_over_16_mib_gets_413() {
    let (server, _folder) = Server::start().await;
    let url = format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base);
    let body = vec![b' '; (16 << 20) + 1];
    let response = send(
        server
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body),
    )
    .await;
    assert_eq!(
        (response.status, &response.body["error"]["code"]),
        (413, &json!(413))
    );
}

#[tokio::test]
async fn an_incomplete_body_is_not_applied() {
    let (server, _folder) = Server::start().await;
    let address = server.base.trim_start_matches("http://");
    let body = serde_json::to_vec(&json!({ "requests": [append(0, &[&["x"]])] })).unwrap();
    let head = format!(
        "POST /v4/spreadsheets/{ID}:batchUpdate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len() + 1
    );
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&body).await.unwrap();
    connection.shutdown().await.unwrap();
    let mut response = Vec::new();
    connection.read_to_end(&mut response).await.unwrap();
    assert!(!response.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.values("Sheet1").await, json!([]));
}
