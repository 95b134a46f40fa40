//! Everything that is refused: with which status, in which words, and that the service goes on.

use std::time::Duration;

use formline_ingest::Limits;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{FORM, Ingest, TestApp, post_head, problem, read_all, student};

const JSON: &str = "application/json";
const FORM_URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

fn with(ingest: &Ingest, media_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    ingest
        .http
        .post(ingest.url(FORM))
        .header("content-type", media_type)
        .body(body)
}

fn but(field: &str, value: Value) -> Value {
    let mut changed = student();
    changed[field] = value;
    changed
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let many: Value = (0..10_000).map(|n| (format!("f{n}"), json!(n))).collect();
    for (case, body, pointer, keyword) in [
        ("wrong type", but("age", json!("old")), "#/age", "type"),
        ("wrong value", but("age", json!(15)), "#/age", "minimum"),
        ("wrong text", but("roll", json!("x")), "#/roll", "pattern"),
        ("missing", json!({ "roll": "1" }), "#/name", "required"),
        (
            "extra",
            but("extra", json!(1)),
            "#/extra",
            "additionalProperties",
        ),
        ("nul", but("note", json!("a\0b")), "#/note", "pattern"),
        (
            "nul in a name",
            but("a\0b", json!(1)),
            "#/a\0b",
            "propertyNames",
        ),
        (
            "too long",
            but("note", json!("x".repeat(60_000))),
            "#/note",
            "maxLength",
        ),
        ("not an object", json!([1]), "#", "type"),
    ] {
        let answer = ingest.post(&body).send().await.unwrap();
        let (_, problem) = problem(answer, "invalid").await;
        let errors = problem["errors"].as_array().unwrap();
        let named = errors
            .iter()
            .any(|e| e["pointer"] == pointer && e["keyword"] == keyword);
        assert!(named, "{case}: {problem}");
    }
    let all = json!({ "roll": "x", "age": "y", "newsletter": "z" });
    let (_, all) = problem(ingest.post(&all).send().await.unwrap(), "invalid").await;
    assert_eq!(all["errors"].as_array().unwrap().len(), 4, "{all}");
    problem(ingest.post(&many).send().await.unwrap(), "invalid").await;
    ingest.is_well().await;
    assert_eq!(ingest.records().await.len(), 1);
}

/// Asserts that each request is refused as told, and that the service goes on.
async fn are_refused(ingest: &Ingest, cases: Vec<(&str, RequestBuilder)>, slug: &str) {
    for (case, request) in cases {
        let answer = request.send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        problem(answer, slug).await;
    }
    ingest.is_well().await;
    assert_eq!(ingest.records().await.len(), 1);
}

#[tokio::test]
async fn broken_bodies_are_malformed() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let twice = r#"{"roll":"1","roll":"2"}"#;
    let cases = vec![
        ("no json", with(ingest, JSON, "{\"roll\":")),
        ("two values", with(ingest, JSON, "{} {}")),
        ("empty", with(ingest, JSON, "")),
        ("name twice", with(ingest, JSON, twice)),
        (
            "broken utf-8",
            with(ingest, JSON, b"{\"roll\":\"\xff\"}".to_vec()),
        ),
        (
            "broken utf-8 form",
            with(ingest, FORM_URLENCODED, "roll=%ff"),
        ),
        ("deep", with(ingest, JSON, deep)),
        ("no parts", with(ingest, MULTIPART, "x")),
    ];
    are_refused(ingest, cases, "malformed").await;
}

#[tokio::test]
async fn what_would_be_changed_or_lost_is_invalid() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let file = "--b\r\nContent-Disposition: form-data; name=\"note\"; filename=\"x\"\r\n\r\n1\r\n--b--\r\n";
    let cases = vec![
        ("file", with(ingest, MULTIPART, file)),
        (
            "long number",
            with(ingest, JSON, r#"{"share":12345678901234567890123}"#),
        ),
        (
            "many fields",
            with(ingest, FORM_URLENCODED, "a=1&".repeat(10_000)),
        ),
    ];
    are_refused(ingest, cases, "invalid").await;
}

#[tokio::test]
async fn strange_media_types_are_unsupported() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let cases = vec![
        ("text", with(ingest, "text/plain", "x")),
        (
            "latin-1",
            with(ingest, "application/json; charset=latin1", "{}"),
        ),
        (
            "compressed",
            with(ingest, JSON, "{}").header("content-encoding", "gzip"),
        ),
        ("no type", ingest.http.post(ingest.url(FORM)).body("{}")),
    ];
    are_refused(ingest, cases, "media-type").await;
}

#[tokio::test]
async fn two_megabytes_and_bad_keys_are_refused() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let large = with(ingest, JSON, vec![b' '; 2 << 20]);
    problem(large.send().await.unwrap(), "too-large").await;
    let cases = vec![
        (
            "space",
            ingest.post(&student()).header("idempotency-key", "a b"),
        ),
        (
            "two",
            ingest
                .post(&student())
                .header("idempotency-key", "a")
                .header("idempotency-key", "b"),
        ),
    ];
    are_refused(ingest, cases, "idempotency-key").await;
}

#[tokio::test]
async fn a_record_that_kafka_does_not_take_is_too_large() {
    // Limits that nobody should set: the body is allowed to be larger than Kafka's message.max.bytes.
    let limits = Limits {
        body_bytes: 4 << 20,
        values: 1_000_000,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let courses = but("courses", vec!["maths"; 200_000].into());
    for key in ["k", "k"] {
        let answer = ingest
            .post(&courses)
            .header("idempotency-key", key)
            .send()
            .await
            .unwrap();
        problem(answer, "too-large").await;
    }
    // It is certain that nothing was stored, so the key is free for another body.
    let small = ingest
        .post(&student())
        .header("idempotency-key", "k")
        .send()
        .await
        .unwrap();
    assert_eq!(small.status(), 202);
}

#[tokio::test]
async fn a_415_says_what_would_be_taken() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let answer = with(&ingest, "text/plain", "x").send().await.unwrap();
    assert!(
        answer.headers()["accept-post"]
            .to_str()
            .unwrap()
            .contains("multipart/form-data")
    );
}

#[tokio::test]
async fn strange_addresses_and_methods_are_refused() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    for path in [
        "/",
        "/none",
        "/v1/forms/none",
        "/v1/forms/none/submissions",
        "/student/x",
        "/v1/submissions",
    ] {
        problem(ingest.get(path).send().await.unwrap(), "not-found").await;
        problem(
            ingest
                .http
                .post(ingest.url(path))
                .json(&student())
                .send()
                .await
                .unwrap(),
            "not-found",
        )
        .await;
    }
    for (path, allow) in [
        (FORM, vec!["GET", "HEAD", "POST", "OPTIONS"]),
        ("/v1/forms/student/submissions", vec!["POST", "OPTIONS"]),
        ("/v1/forms", vec!["GET", "HEAD"]),
        ("/openapi.json", vec!["GET", "HEAD"]),
    ] {
        let answer = ingest.http.delete(ingest.url(path)).send().await.unwrap();
        let (headers, _) = problem(answer, "method").await;
        let mut allowed: Vec<&str> = headers["allow"]
            .to_str()
            .unwrap()
            .split(',')
            .map(str::trim)
            .collect();
        let mut allow = allow;
        allow.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(allowed, allow, "{path}");
    }
    let long = format!("{FORM}?{}", "x".repeat(9 << 10));
    problem(ingest.get(&long).send().await.unwrap(), "uri-too-long").await;
    let large = ingest
        .get("/v1/forms")
        .header("x-large", "x".repeat(20 << 10));
    problem(large.send().await.unwrap(), "headers-too-large").await;
    // Nor does anything fall over HEAD, whose answers have no body.
    let head = ingest.http.head(ingest.url("/none")).send().await.unwrap();
    assert_eq!(head.status(), 404);
    ingest.is_well().await;
}

#[tokio::test]
async fn the_edge_of_the_largest_body_is_exact() {
    let limits = Limits {
        body_bytes: 1000,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let padded = |length| format!("{:length$}", student().to_string());
    assert_eq!(
        with(&ingest, JSON, padded(1000))
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    problem(
        with(&ingest, JSON, padded(1001)).send().await.unwrap(),
        "too-large",
    )
    .await;
    // The same without a declared length.
    let chunked = |length: usize| {
        let chunks = padded(length)
            .into_bytes()
            .chunks(100)
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        let mut raw = post_head("Transfer-Encoding: chunked\r\nConnection: close\r\n").into_bytes();
        for chunk in chunks {
            raw.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            raw.extend(chunk);
            raw.extend(b"\r\n");
        }
        raw.extend(b"0\r\n\r\n");
        raw
    };
    assert!(
        read_all(ingest.raw(chunked(1000)).await)
            .await
            .starts_with("HTTP/1.1 202")
    );
    let refused = read_all(ingest.raw(chunked(1001)).await).await;
    assert!(
        refused.starts_with("HTTP/1.1 413") && refused.contains("problem:too-large"),
        "{refused}"
    );
    ingest.is_well().await;
}

#[tokio::test]
async fn clients_that_ask_first_are_told_before_they_send() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let large =
        post_head("Content-Length: 2000000\r\nExpect: 100-continue\r\nConnection: close\r\n");
    let refused = read_all(ingest.raw(large).await).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    let body = student().to_string();
    let head = format!(
        "Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n",
        body.len()
    );
    let mut stream = ingest.raw(post_head(&head)).await;
    let mut begin = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut begin)
        .await
        .unwrap();
    assert_eq!(&begin, b"HTTP/1.1 100 Continue\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, body.as_bytes())
        .await
        .unwrap();
    assert!(read_all(stream).await.starts_with("HTTP/1.1 202"));
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let limits = Limits {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(600),
        request_timeout: Duration::from_millis(1300),
        delivery_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let (silent, headers) = (
        ingest.raw("").await,
        ingest.raw("POST /student HTTP/1.1\r\nHost:").await,
    );
    let body = ingest.raw(post_head("Content-Length: 100\r\n") + "{").await;
    let idle = ingest
        .raw("GET /v1/forms HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(read_all(silent).await, "");
    assert_eq!(read_all(headers).await, "");
    let stalled = read_all(body).await;
    assert!(
        stalled.starts_with("HTTP/1.1 408") && stalled.contains("problem:timeout"),
        "{stalled}"
    );
    assert!(read_all(idle).await.starts_with("HTTP/1.1 200"));
    ingest.is_well().await;
}

#[tokio::test]
async fn what_is_not_http_and_floods_of_headers_end_at_the_connection() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let flood: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert!(
        read_all(ingest.raw(post_head(&flood)).await)
            .await
            .starts_with("HTTP/1.1 431")
    );
    let large = format!("x-large: {}\r\n", "x".repeat(100 << 10));
    assert!(
        read_all(ingest.raw(post_head(&large)).await)
            .await
            .starts_with("HTTP/1.1 431")
    );
    assert!(
        read_all(ingest.raw("\x16\x03\x01 this is tls\r\n\r\n").await)
            .await
            .starts_with("HTTP/1.1 400")
    );
    ingest.is_well().await;
}

#[tokio::test]
async fn too_many_submissions_of_one_client_are_limited() {
    let app = TestApp::with("rate_limit = { client_per_minute = 2 }");
    let ingest = Ingest::start(&app, Limits::default()).await;
    for _ in 0..2 {
        ingest.is_well().await;
    }
    let (headers, _) = problem(
        ingest.post(&student()).send().await.unwrap(),
        "rate-limited",
    )
    .await;
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=31).contains(&wait), "{wait}");
    // Looking at the form is no submission.
    assert_eq!(ingest.get(FORM).send().await.unwrap().status(), 200);
    let limited = r#"formline_submissions_total{form="student",outcome="limited"}"#;
    assert_eq!(ingest.metric(limited).await, Some(1.0));
}
