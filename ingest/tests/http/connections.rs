//! Overload and stopping.

use std::time::Duration;

use formline_ingest::Limits;
use formline_testing::eventually;
use reqwest::StatusCode;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::harness::{Ingest, SOON, TestApp, post_head, problem, read_all, student};

/// A request in work: its body is not complete.
async fn begun(ingest: &Ingest) -> TcpStream {
    let body = student().to_string();
    let head = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    let stream = ingest.raw(post_head(&head)).await;
    eventually(SOON, async || {
        ingest.metric("formline_http_in_flight").await >= Some(1.0)
    })
    .await;
    stream
}

#[tokio::test]
async fn over_the_bound_requests_are_turned_away_unread() {
    let limits = Limits {
        in_flight: 1,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let mut slow = begun(&ingest).await;
    let (headers, _) = problem(ingest.post(&student()).send().await.unwrap(), "overloaded").await;
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    // Not even a body that never comes is waited for.
    let unread = ingest.raw(post_head("Content-Length: 100\r\n")).await;
    assert!(read_all(unread).await.starts_with("HTTP/1.1 503"));
    slow.write_all(student().to_string().as_bytes())
        .await
        .unwrap();
    assert!(read_all(slow).await.starts_with("HTTP/1.1 202"));
    ingest.is_well().await;
}

#[tokio::test]
async fn over_the_bound_connections_wait_in_the_kernel() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let mut first = begun(&ingest).await;
    let second = ingest
        .raw("GET /v1/forms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    let mut byte = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(300), second.peek(&mut byte)).await;
    assert!(early.is_err(), "it was served beside the first");
    first
        .write_all(student().to_string().as_bytes())
        .await
        .unwrap();
    assert!(read_all(first).await.starts_with("HTTP/1.1 202"));
    assert!(read_all(second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand_and_takes_nothing_new() {
    let app = TestApp::with("");
    let ingest = Ingest::start(&app, Limits::default()).await;
    let mut slow = begun(&ingest).await;
    ingest.shutdown.begin();
    eventually(SOON, async || {
        ingest.readiness().await == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    eventually(SOON, async || {
        TcpStream::connect(ingest.address).await.is_err()
    })
    .await;
    assert!(!ingest.served.is_finished());
    slow.write_all(student().to_string().as_bytes())
        .await
        .unwrap();
    assert!(read_all(slow).await.starts_with("HTTP/1.1 202"));
    let records = ingest.records().await;
    ingest.stop().await.unwrap();
    assert_eq!(records.len(), 1);
}

#[tokio::test]
async fn stopping_gives_up_after_the_grace_period() {
    let limits = Limits {
        grace: Duration::from_millis(300),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let slow = begun(&ingest).await;
    tokio::time::timeout(Duration::from_secs(5), ingest.stop())
        .await
        .expect("it stops")
        .unwrap();
    assert_eq!(read_all(slow).await, "");
}
