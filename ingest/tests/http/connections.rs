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

/// A small request.
fn ask(headers: &str) -> String {
    format!("GET /v1/forms HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// Connections that the server has taken and that wait for their first request.
async fn opened(ingest: &Ingest, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(ingest.raw("").await);
    }
    // One more after them is answered, so all have been taken.
    let last = ingest.raw(ask("Connection: close\r\n")).await;
    assert!(read_all(last).await.starts_with("HTTP/1.1 200"));
    streams
}

/// Sends without giving the server, on the same thread, a turn.
fn send_at_once(stream: &TcpStream, request: &str) {
    assert_eq!(stream.try_write(request.as_bytes()).unwrap(), request.len());
}

#[tokio::test]
async fn a_request_that_came_before_a_stall_is_answered_after_the_time_limit() {
    let limits = Limits {
        header_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    // Many: were it left to chance whether the request or the time limit is seen first, some would fail.
    let streams = opened(&ingest, 20).await;
    for stream in &streams {
        stream.writable().await.unwrap();
        send_at_once(stream, &ask("Connection: close\r\n"));
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "a busy machine: nothing on this thread runs while the time limit passes"
    )]
    std::thread::sleep(limits.header_timeout * 2);
    for stream in streams {
        assert!(read_all(stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_cut_off() {
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
async fn a_connection_that_rests_too_long_is_closed() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let ingest = Ingest::start(&TestApp::with(""), limits).await;
    let answer = read_all(ingest.raw(ask("")).await).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_request_that_came_before_the_stop_is_answered() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let streams = opened(&ingest, 20).await;
    for stream in &streams {
        stream.writable().await.unwrap();
        send_at_once(stream, &ask(""));
    }
    ingest.shutdown.begin();
    for stream in streams {
        assert!(read_all(stream).await.starts_with("HTTP/1.1 200"));
    }
    ingest.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_before_the_body_says_that_it_is_the_last() {
    let limits = Limits {
        in_flight: 0,
        ..Limits::default()
    };
    let app = TestApp::with("");
    let overloaded = Ingest::start(&app, limits).await;
    let unread = overloaded.raw(post_head("Content-Length: 100\r\n")).await;
    let answer = read_all(unread).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 503"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");

    // One that has read the body, or has none to read, is not.
    let ingest = Ingest::start(&app, Limits::default()).await;
    let invalid = format!("{}{{}}", post_head("Content-Length: 2\r\n"));
    let last = ask("Connection: close\r\n");
    let answers = read_all(ingest.raw(invalid + &ask("") + &last).await).await;
    assert!(answers.starts_with("HTTP/1.1 422"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
}
