//! Accepted submissions, and their records in the topic.

use formline_core::{Record, event::header};
use formline_ingest::Limits;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::harness::{FORM_PATH, Ingest, TIMEOUT, TestApp, client_builder, student};

async fn start() -> Ingest {
    Ingest::start(&TestApp::with(""), Limits::default()).await
}

async fn accepted(response: Response) -> Value {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    assert_eq!(headers["cache-control"], "no-store");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["status"], "accepted");
    assert_eq!(
        headers["location"],
        format!("/v1/submissions/{}", body["id"].as_str().unwrap())
    );
    body
}

fn value(record: &Record) -> Value {
    serde_json::from_slice(record.value().unwrap()).unwrap()
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.text_header(name)
}

#[tokio::test]
async fn every_media_type_yields_the_same_record() {
    let ingest = start().await;
    let expected = json!({ "roll": "99999", "name": "Asha", "age": 21, "newsletter": true, "courses": ["music", "maths"] });
    let pairs = [
        ("roll", "99999"),
        ("name", " Asha "),
        ("age", "21"),
        ("newsletter", "on"),
        ("courses", "music"),
        ("courses", "maths"),
        ("note", ""),
        ("website", ""),
    ];
    let multipart = pairs
        .iter()
        .fold(reqwest::multipart::Form::new(), |form, (name, value)| {
            form.text(*name, *value)
        });
    for request in [
        ingest.post(&expected),
        ingest
            .http
            .post(ingest.url(&format!("{FORM_PATH}/")))
            .form(&pairs),
        ingest
            .http
            .post(ingest.url("/v1/forms/student/submissions"))
            .multipart(multipart),
    ] {
        accepted(request.send().await.unwrap()).await;
    }
    let records = ingest.records().await;
    assert_eq!(records.len(), 3);
    for record in &records {
        assert_eq!(value(record), expected);
        assert_eq!(record.key(), Some(b"99999".as_slice()));
    }
}

#[tokio::test]
async fn a_record_is_a_cloud_event_with_all_headers_of_the_pipeline() {
    let ingest = start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = ingest.post(&json!({ "name": "Asha", "roll": "7", "note": "=1+1 <b>" }));
    let response = accepted(request.header("traceparent", trace).send().await.unwrap()).await;
    let records = ingest.records().await;
    let record = records.first().unwrap();
    // The value has the order of the request; formulas and HTML are plain text.
    assert_eq!(
        record.value(),
        Some(br#"{"name":"Asha","roll":"7","note":"=1+1 <b>"}"#.as_slice())
    );
    for (name, expected) in [
        (header::SPEC_VERSION, "1.0"),
        (header::ID, response["id"].as_str().unwrap()),
        (header::TYPE, "formline.submission.accepted"),
        (header::SOURCE, "/forms/student"),
        (header::SUBJECT, "7"),
        (header::TIME, response["received_at"].as_str().unwrap()),
        (header::DATA_SCHEMA, "/v1/forms/student/schema"),
        (header::CONTENT_TYPE, "application/json"),
        (header::TRACE_PARENT, trace),
    ] {
        assert_eq!(self::header(record, name), Some(expected), "{name}");
    }
    assert_eq!(self::header(record, header::FINGERPRINT), None);
}

#[tokio::test]
async fn texts_are_sanitized_and_numbers_keep_every_digit() {
    let ingest = start().await;
    let body = r#"{"name":"  Asha\u0007","roll":"7","share":0.30000000000000004}"#;
    let request = ingest
        .http
        .post(ingest.url(FORM_PATH))
        .header("content-type", "application/json; charset=UTF-8");
    accepted(request.body(body).send().await.unwrap()).await;
    let records = ingest.records().await;
    let expected = r#"{"name":"Asha","roll":"7","share":0.30000000000000004}"#;
    assert_eq!(records[0].value(), Some(expected.as_bytes()));
}

#[tokio::test]
async fn a_filled_honeypot_is_accepted_and_not_stored() {
    let ingest = start().await;
    let mut spam = student();
    spam["website"] = json!("https://spam.example");
    accepted(ingest.post(&spam).send().await.unwrap()).await;
    accepted(ingest.post(&student()).send().await.unwrap()).await;
    assert_eq!(ingest.records().await.len(), 1);
    let count =
        |outcome| format!(r#"formline_submissions_total{{form="student",outcome="{outcome}"}}"#);
    assert_eq!(ingest.metric(&count("honeypot")).await, Some(1.0));
    assert_eq!(ingest.metric(&count("accepted")).await, Some(1.0));
    assert_eq!(ingest.metric(&count("refused")).await, Some(0.0));
}

#[tokio::test]
async fn http2_is_supported_and_measured() {
    let ingest = start().await;
    let http2 = client_builder().http2_prior_knowledge().build().unwrap();
    let sends = (0..50).map(|_| http2.post(ingest.url(FORM_PATH)).json(&student()).send());
    for response in futures::future::join_all(sends).await {
        let response = response.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        accepted(response).await;
    }
    assert_eq!(ingest.records().await.len(), 50);
    let measured = r#"formline_http_request_duration_seconds_count{form="student",method="POST",status="202"}"#;
    assert_eq!(ingest.metric(measured).await, Some(50.0));
    formline_testing::eventually(TIMEOUT, async || {
        ingest.metric("formline_http_in_flight").await == Some(0.0)
    })
    .await;
    assert_eq!(
        ingest.metric("formline_producer_queue_messages").await,
        Some(0.0)
    );
}

#[tokio::test]
async fn request_ids_are_echoed_if_they_are_uuids() {
    let ingest = start().await;
    let id = "0190f3b0-aaaa-7bbb-8ccc-ddddeeeeffff";
    for (given, echoed) in [(id, true), ("<script>", false)] {
        let response = ingest
            .get("/v1/forms")
            .header("x-request-id", given)
            .send()
            .await
            .unwrap();
        assert_eq!(
            response.headers()["x-request-id"] == given,
            echoed,
            "{given}"
        );
    }
}
