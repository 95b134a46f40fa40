//! The limits of size, time and rate.

use std::time::Duration;

use formline_ingest::Limits;

use super::harness::{
    FORM_PATH, Ingest, TestApp, post_body, post_head, problem, read_all, student,
};

const JSON: &str = "application/json";

#[tokio::test]
async fn the_limit_of_the_body_size_is_exact() {
    let limits = Limits {
        body_bytes: 1000,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let padded = |length| format!("{:length$}", student().to_string());
    assert_eq!(
        post_body(&ingest, JSON, padded(1000))
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    problem(
        post_body(&ingest, JSON, padded(1001)).send().await.unwrap(),
        "too-large",
    )
    .await;
    // A chunked body has no declared length.
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
    let rejected = read_all(ingest.raw(chunked(1001)).await).await;
    assert!(
        rejected.starts_with("HTTP/1.1 413") && rejected.contains("problem:too-large"),
        "{rejected}"
    );
    ingest.assert_accepts_submissions().await;
}

#[tokio::test]
async fn clients_that_expect_100_continue_get_a_response_before_they_send() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let large =
        post_head("Content-Length: 2000000\r\nExpect: 100-continue\r\nConnection: close\r\n");
    let rejected = read_all(ingest.raw(large).await).await;
    assert!(rejected.starts_with("HTTP/1.1 413"), "{rejected}");
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
async fn slow_clients_are_disconnected() {
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
    ingest.assert_accepts_submissions().await;
}

#[tokio::test]
async fn hyper_rejects_other_protocols_and_too_many_headers() {
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
    ingest.assert_accepts_submissions().await;
}

#[tokio::test]
async fn the_submissions_of_one_client_are_rate_limited() {
    let app = TestApp::with("rate_limit = { client_per_minute = 2 }");
    let ingest = Ingest::start(&app, Limits::default()).await;
    for _ in 0..2 {
        ingest.assert_accepts_submissions().await;
    }
    let (headers, _) = problem(
        ingest.post(&student()).send().await.unwrap(),
        "rate-limited",
    )
    .await;
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=31).contains(&wait), "{wait}");
    // Getting the form does not count as a submission.
    assert_eq!(ingest.get(FORM_PATH).send().await.unwrap().status(), 200);
    let limited = r#"formline_submissions_total{form="student",outcome="limited"}"#;
    assert_eq!(ingest.metric(limited).await, Some(1.0));
}
