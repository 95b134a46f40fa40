//! `Idempotency-Key`: a repeated submission is stored once.

use formline_ingest::Limits;
use formline_testing::eventually;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::harness::{Ingest, TIMEOUT, TestApp, post_head, problem, student};

async fn send(ingest: &Ingest, key: &str, submission: &Value) -> Response {
    ingest
        .post(submission)
        .header("idempotency-key", key)
        .send()
        .await
        .unwrap()
}

async fn accepted(response: Response) -> (bool, Value) {
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let replayed = response
        .headers()
        .get("idempotency-replayed")
        .is_some_and(|value| value == "true");
    (replayed, response.json().await.unwrap())
}

#[tokio::test]
async fn a_repeated_submission_gets_the_first_response_and_is_not_stored() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let (replayed, first) = accepted(send(&ingest, "k-1", &student()).await).await;
    assert!(!replayed);
    // The stored values are compared, so that differences in encoding do not matter.
    for key in ["k-1", "\"k-1\""] {
        let (replayed, again) = accepted(send(&ingest, key, &student()).await).await;
        assert!(replayed);
        assert_eq!(again, first);
    }
    let other = json!({ "roll": "1", "name": "Ben" });
    problem(send(&ingest, "k-1", &other).await, "key-reused").await;
    let (replayed, second) = accepted(send(&ingest, "k-2", &student()).await).await;
    assert!(!replayed && second["id"] != first["id"]);
    assert_eq!(ingest.records().await.len(), 2);
}

#[tokio::test]
async fn keys_survive_a_restart() {
    let app = TestApp::with("");
    let ingest = Ingest::start(&app, Limits::default()).await;
    let (_, first) = accepted(send(&ingest, "k", &student()).await).await;
    ingest.stop().await.unwrap();
    let ingest = Ingest::start(&app, Limits::default()).await;
    let (replayed, again) = accepted(send(&ingest, "k", &student()).await).await;
    assert!(replayed);
    assert_eq!(again, first);
    problem(
        send(&ingest, "k", &json!({ "roll": "1", "name": "Ben" })).await,
        "key-reused",
    )
    .await;
    assert_eq!(ingest.records().await.len(), 1);
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_block_its_key() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let body = student().to_string();
    for n in 0..10 {
        let head = format!(
            "Content-Length: {}\r\nIdempotency-Key: disconnected-{n}\r\n",
            body.len()
        );
        drop(ingest.raw(post_head(&head) + &body).await);
    }
    for n in 0..10 {
        let key = format!("disconnected-{n}");
        let is_accepted =
            async || send(&ingest, &key, &student()).await.status() == StatusCode::ACCEPTED;
        eventually(TIMEOUT, is_accepted).await;
    }
    assert_eq!(ingest.records().await.len(), 10);
}

#[tokio::test]
async fn concurrent_requests_with_the_same_key_are_stored_once() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let student = student();
    let responses =
        futures::future::join_all((0..20).map(|_| send(&ingest, "race", &student))).await;
    let statuses: Vec<u16> = responses
        .iter()
        .map(|response| response.status().as_u16())
        .collect();
    assert!(
        statuses.iter().all(|status| [202, 409].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&202));
    assert_eq!(ingest.records().await.len(), 1);
}
