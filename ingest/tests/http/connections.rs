//! Connections: overload, time limits and shutdown.

use std::time::Duration;

use formline_ingest::Limits;
use formline_testing::eventually;
use reqwest::StatusCode;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::harness::{Ingest, TIMEOUT, TestApp, post_head, problem, read_all, student};

/// Starts a request whose body is not complete.
async fn start_request(ingest: &Ingest) -> TcpStream {
    let body = student().to_string();
    let head = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    let stream = ingest.raw(post_head(&head)).await;
    eventually(TIMEOUT, async || {
        ingest.metric("formline_http_in_flight").await >= Some(1.0)
    })
    .await;
    stream
}

#[tokio::test]
async fn above_the_limit_requests_are_rejected_without_reading() {
    let limits = Limits {
        in_flight: 1,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let mut slow = start_request(&ingest).await;
    let (headers, _) = problem(ingest.post(&student()).send().await.unwrap(), "overloaded").await;
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    // The response does not wait for the body.
    let unread = ingest.raw(post_head("Content-Length: 100\r\n")).await;
    assert!(read_all(unread).await.starts_with("HTTP/1.1 503"));
    slow.write_all(student().to_string().as_bytes())
        .await
        .unwrap();
    assert!(read_all(slow).await.starts_with("HTTP/1.1 202"));
    ingest.assert_accepts_submissions().await;
}

#[tokio::test]
async fn above_the_limit_connections_wait_in_the_kernel() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let mut first = start_request(&ingest).await;
    let second = ingest
        .raw("GET /v1/forms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    let mut byte = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(300), second.peek(&mut byte)).await;
    assert!(
        early.is_err(),
        "the second connection was served before the first ended"
    );
    first
        .write_all(student().to_string().as_bytes())
        .await
        .unwrap();
    assert!(read_all(first).await.starts_with("HTTP/1.1 202"));
    assert!(read_all(second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_finishes_requests_in_flight_and_accepts_no_connections() {
    let app = TestApp::with("");
    let ingest = Ingest::start(&app, Limits::default()).await;
    let mut slow = start_request(&ingest).await;
    ingest.shutdown.begin();
    eventually(TIMEOUT, async || {
        ingest.readiness().await == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    eventually(TIMEOUT, async || {
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
async fn stopping_aborts_connections_after_the_grace_period() {
    let limits = Limits {
        grace: Duration::from_millis(300),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let slow = start_request(&ingest).await;
    tokio::time::timeout(Duration::from_secs(5), ingest.stop())
        .await
        .expect("ingest stops in time")
        .unwrap();
    assert_eq!(read_all(slow).await, "");
}

/// A request without a body.
fn get_forms(headers: &str) -> String {
    format!("GET /v1/forms HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// Opens connections that the server has accepted, without sending a request.
async fn open_connections(ingest: &Ingest, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(ingest.raw("").await);
    }
    // A later connection gets a response, so the server has accepted all.
    let last = ingest.raw(get_forms("Connection: close\r\n")).await;
    assert!(read_all(last).await.starts_with("HTTP/1.1 200"));
    streams
}

/// Sends without yielding to the server, which runs on the same thread.
fn send_without_yielding(stream: &TcpStream, request: &str) {
    assert_eq!(stream.try_write(request.as_bytes()).unwrap(), request.len());
}

#[tokio::test]
async fn a_request_that_arrived_in_time_is_handled_after_a_stall() {
    let limits = Limits {
        header_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    // With many connections, some would fail if the order of request and timeout were random.
    let streams = open_connections(&ingest, 20).await;
    for stream in &streams {
        stream.writable().await.unwrap();
        send_without_yielding(stream, &get_forms("Connection: close\r\n"));
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "simulates a busy machine: nothing on this thread runs until the timeout"
    )]
    std::thread::sleep(limits.header_timeout * 2);
    for stream in streams {
        assert!(read_all(stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_disconnected() {
    let limits = Limits {
        header_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    for part in ["", "GET /v1/forms HTTP/1.1\r\nHost:"] {
        assert_eq!(read_all(ingest.raw(part).await).await, "");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let response = read_all(ingest.raw(get_forms("")).await).await;
    assert_eq!(response.matches("HTTP/1.1 200").count(), 1, "{response}");
}

#[tokio::test]
async fn a_request_that_arrived_before_the_stop_is_handled() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let streams = open_connections(&ingest, 20).await;
    for stream in &streams {
        stream.writable().await.unwrap();
        send_without_yielding(stream, &get_forms(""));
    }
    ingest.shutdown.begin();
    for stream in streams {
        assert!(read_all(stream).await.starts_with("HTTP/1.1 200"));
    }
    ingest.stop().await.unwrap();
}

#[tokio::test]
async fn a_response_before_the_body_announces_the_close() {
    let limits = Limits {
        in_flight: 0,
        ..Limits::default()
    };
    let app = TestApp::with("");
    let overloaded = Ingest::start(&app, limits).await;
    let unread = overloaded.raw(post_head("Content-Length: 100\r\n")).await;
    let response = read_all(unread).await.to_lowercase();
    assert!(response.starts_with("http/1.1 503"), "{response}");
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");

    // After a body that was read, or without a body, the connection stays open.
    let ingest = Ingest::start(&app, Limits::default()).await;
    let invalid = format!("{}{{}}", post_head("Content-Length: 2\r\n"));
    let last = get_forms("Connection: close\r\n");
    let responses = read_all(ingest.raw(invalid + &get_forms("") + &last).await).await;
    assert!(responses.starts_with("HTTP/1.1 422"), "{responses}");
    assert_eq!(responses.matches("HTTP/1.1 200").count(), 2, "{responses}");
}
