//! Rejected requests: their problem types, and that the service continues.

use formline_ingest::Limits;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{FORM_PATH, Ingest, TestApp, post_body, problem, student};

const JSON: &str = "application/json";
const FORM_URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// A valid submission, except for one field.
fn student_with(field: &str, value: Value) -> Value {
    let mut changed = student();
    changed[field] = value;
    changed
}

#[tokio::test]
async fn violations_name_the_field() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    for (case, body, pointer, keyword) in [
        (
            "other type",
            student_with("age", json!("old")),
            "#/age",
            "type",
        ),
        (
            "value out of range",
            student_with("age", json!(15)),
            "#/age",
            "minimum",
        ),
        (
            "pattern",
            student_with("roll", json!("x")),
            "#/roll",
            "pattern",
        ),
        ("missing", json!({ "roll": "1" }), "#/name", "required"),
        (
            "extra",
            student_with("extra", json!(1)),
            "#/extra",
            "additionalProperties",
        ),
        (
            "nul",
            student_with("note", json!("a\0b")),
            "#/note",
            "pattern",
        ),
        (
            "nul in a name",
            student_with("a\0b", json!(1)),
            "#/a\0b",
            "propertyNames",
        ),
        (
            "too long",
            student_with("note", json!("x".repeat(60_000))),
            "#/note",
            "maxLength",
        ),
        ("not an object", json!([1]), "#", "type"),
    ] {
        let response = ingest.post(&body).send().await.unwrap();
        let (_, problem) = problem(response, "invalid").await;
        let errors = problem["errors"].as_array().unwrap();
        let named = errors
            .iter()
            .any(|e| e["pointer"] == pointer && e["keyword"] == keyword);
        assert!(named, "{case}: {problem}");
    }
    ingest.assert_accepts_submissions().await;
    assert_eq!(ingest.records().await.len(), 1);
}

#[tokio::test]
async fn all_violations_are_reported_and_too_many_values_are_invalid() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let many: Value = (0..10_000).map(|n| (format!("f{n}"), json!(n))).collect();
    let all = json!({ "roll": "x", "age": "y", "newsletter": "z" });
    let (_, all) = problem(ingest.post(&all).send().await.unwrap(), "invalid").await;
    assert_eq!(all["errors"].as_array().unwrap().len(), 4, "{all}");
    problem(ingest.post(&many).send().await.unwrap(), "invalid").await;
    ingest.assert_accepts_submissions().await;
    assert_eq!(ingest.records().await.len(), 1);
}

/// Asserts that each request gets this type of problem, and that the service continues.
async fn assert_rejected(ingest: &Ingest, cases: Vec<(&str, RequestBuilder)>, slug: &str) {
    for (case, request) in cases {
        let response = request.send().await;
        let response = response.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        problem(response, slug).await;
    }
    ingest.assert_accepts_submissions().await;
    assert_eq!(ingest.records().await.len(), 1);
}

#[tokio::test]
async fn invalid_encodings_are_malformed() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let twice = r#"{"roll":"1","roll":"2"}"#;
    let cases = vec![
        ("no json", post_body(ingest, JSON, "{\"roll\":")),
        ("two values", post_body(ingest, JSON, "{} {}")),
        ("empty", post_body(ingest, JSON, "")),
        ("name twice", post_body(ingest, JSON, twice)),
        (
            "broken utf-8",
            post_body(ingest, JSON, b"{\"roll\":\"\xff\"}".to_vec()),
        ),
        (
            "broken utf-8 form",
            post_body(ingest, FORM_URLENCODED, "roll=%ff"),
        ),
        ("deep", post_body(ingest, JSON, deep)),
        ("no parts", post_body(ingest, MULTIPART, "x")),
    ];
    assert_rejected(ingest, cases, "malformed").await;
}

#[tokio::test]
async fn values_that_cannot_be_stored_unchanged_are_invalid() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let file = "--b\r\nContent-Disposition: form-data; name=\"note\"; filename=\"x\"\r\n\r\n1\r\n--b--\r\n";
    let cases = vec![
        ("file", post_body(ingest, MULTIPART, file)),
        (
            "long number",
            post_body(ingest, JSON, r#"{"share":12345678901234567890123}"#),
        ),
        (
            "many fields",
            post_body(ingest, FORM_URLENCODED, "a=1&".repeat(10_000)),
        ),
    ];
    assert_rejected(ingest, cases, "invalid").await;
}

#[tokio::test]
async fn other_media_types_are_unsupported() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let cases = vec![
        ("text", post_body(ingest, "text/plain", "x")),
        (
            "latin-1",
            post_body(ingest, "application/json; charset=latin1", "{}"),
        ),
        (
            "compressed",
            post_body(ingest, JSON, "{}").header("content-encoding", "gzip"),
        ),
        (
            "no type",
            ingest.http.post(ingest.url(FORM_PATH)).body("{}"),
        ),
    ];
    assert_rejected(ingest, cases, "media-type").await;
}

#[tokio::test]
async fn large_bodies_and_invalid_keys_are_rejected() {
    let ingest = &Ingest::start(&TestApp::with(""), Limits::default()).await;
    let large = post_body(ingest, JSON, vec![b' '; 2 << 20]);
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
    assert_rejected(ingest, cases, "idempotency-key").await;
}

#[tokio::test]
async fn a_record_that_kafka_rejects_is_too_large() {
    // A misconfiguration: this body limit is larger than Kafka's message.max.bytes.
    let limits = Limits {
        body_bytes: 4 << 20,
        values: 1_000_000,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let courses = student_with("courses", vec!["maths"; 200_000].into());
    for key in ["k", "k"] {
        let response = ingest
            .post(&courses)
            .header("idempotency-key", key)
            .send()
            .await
            .unwrap();
        problem(response, "too-large").await;
    }
    // Nothing was stored, so the key is free for another body.
    let small = ingest
        .post(&student())
        .header("idempotency-key", "k")
        .send()
        .await
        .unwrap();
    assert_eq!(small.status(), 202);
}

#[tokio::test]
async fn a_response_415_lists_the_supported_media_types() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let response = post_body(&ingest, "text/plain", "x").send().await.unwrap();
    assert!(
        response.headers()["accept-post"]
            .to_str()
            .unwrap()
            .contains("multipart/form-data")
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_are_rejected() {
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
        (FORM_PATH, vec!["GET", "HEAD", "POST", "OPTIONS"]),
        ("/v1/forms/student/submissions", vec!["POST", "OPTIONS"]),
        ("/v1/forms", vec!["GET", "HEAD"]),
        ("/openapi.json", vec!["GET", "HEAD"]),
    ] {
        let response = ingest.http.delete(ingest.url(path)).send().await.unwrap();
        let (headers, _) = problem(response, "method").await;
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
    let long = format!("{FORM_PATH}?{}", "x".repeat(9 << 10));
    problem(ingest.get(&long).send().await.unwrap(), "uri-too-long").await;
    let large = ingest
        .get("/v1/forms")
        .header("x-large", "x".repeat(20 << 10));
    problem(large.send().await.unwrap(), "headers-too-large").await;
    // A response to HEAD has no body.
    let head = ingest.http.head(ingest.url("/none")).send().await.unwrap();
    assert_eq!(head.status(), 404);
    ingest.assert_accepts_submissions().await;
}
