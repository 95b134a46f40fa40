//! Outages of Kafka: clients get an error in time, and the service recovers when Kafka returns.

use std::time::{Duration, Instant};

use formline_ingest::Limits;
use formline_testing::{Kafka, eventually};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::harness::{Ingest, TIMEOUT, TestApp, problem, student};

fn limits() -> Limits {
    let (request_timeout, delivery_timeout) = (Duration::from_secs(5), Duration::from_secs(2));
    Limits {
        request_timeout,
        delivery_timeout,
        ..Limits::default()
    }
}

#[tokio::test]
async fn during_an_outage_requests_fail_and_afterwards_they_succeed() {
    let mut kafka = Kafka::start_own().await;
    let ingest = Ingest::start_on(&TestApp::with(""), limits(), kafka.bootstrap()).await;
    ingest.wait_ready().await;
    ingest.assert_accepts_submissions().await;
    kafka.stop().await;

    let started = Instant::now();
    let keyed = ingest.post(&student()).header("idempotency-key", "k");
    let first = tokio::spawn(keyed.send());
    eventually(TIMEOUT, async || {
        ingest.metric("formline_producer_queue_messages").await == Some(1.0)
    })
    .await;
    let again = ingest
        .post(&student())
        .header("idempotency-key", "k")
        .send()
        .await
        .unwrap();
    let (headers, _) = problem(again, "in-progress").await;
    assert!(headers.contains_key("retry-after"));
    let (headers, body) = problem(first.await.unwrap().unwrap(), "unavailable").await;
    assert!(
        started.elapsed() < limits().request_timeout,
        "{:?}",
        started.elapsed()
    );
    assert!(headers.contains_key("retry-after"));
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains("same Idempotency-Key"),
        "{body}"
    );
    let unkeyed = ingest.post(&student()).send().await.unwrap();
    problem(unkeyed, "unavailable").await;
    // An outage does not make the process unready.
    assert_eq!(ingest.readiness().await, StatusCode::OK);

    kafka.restart().await;
    let served =
        async || ingest.post(&student()).send().await.unwrap().status() == StatusCode::ACCEPTED;
    eventually(Duration::from_secs(2), served).await;
    let send = |body| ingest.post(&body).header("idempotency-key", "k").send();
    // The first attempt may be in the log, so the key belongs to its body.
    problem(
        send(json!({ "roll": "1", "name": "Ben" })).await.unwrap(),
        "key-reused",
    )
    .await;
    let response = send(student()).await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(!response.headers().contains_key("idempotency-replayed"));
}

#[tokio::test]
async fn without_kafka_at_start_keys_are_rejected_until_it_is_available() {
    let mut kafka = Kafka::start_own().await;
    let app = TestApp::with("");
    let ingest = Ingest::start_on(&app, limits(), kafka.bootstrap()).await;
    ingest.wait_ready().await;
    ingest.stop().await.unwrap();
    kafka.stop().await;
    let ingest = Ingest::start_without_topics(&app, limits(), kafka.bootstrap()).await;
    let keyed = ingest.post(&student()).header("idempotency-key", "k");
    problem(keyed.send().await.unwrap(), "unavailable").await;
    assert_eq!(ingest.readiness().await, StatusCode::SERVICE_UNAVAILABLE);
    kafka.restart().await;
    ingest.wait_ready().await;
    let keyed = ingest.post(&student()).header("idempotency-key", "k");
    assert_eq!(keyed.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn stopping_does_not_wait_for_an_unavailable_kafka() {
    let mut kafka = Kafka::start_own().await;
    kafka.stop().await;
    let limits = Limits {
        queue_messages: 1,
        ..limits()
    };
    let app = TestApp::with("");
    let ingest = Ingest::start_without_topics(&app, limits, kafka.bootstrap()).await;
    // The queue has room for one record; the other request is rejected immediately.
    let submission = student();
    let send = async || {
        let response = ingest.post(&submission).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        response.json::<Value>().await.unwrap()["type"].clone()
    };
    let (one, other) = tokio::join!(send(), send());
    let both = format!("{one} {other}");
    assert!(
        both.contains("overloaded") && both.contains("unavailable"),
        "{both}"
    );
    tokio::time::timeout(TIMEOUT, ingest.stop())
        .await
        .expect("ingest stops in time")
        .unwrap();
}
