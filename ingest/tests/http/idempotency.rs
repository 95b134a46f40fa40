//! `Idempotency-Key`: a submission that is sent again is stored once.

use formline_ingest::Limits;
use formline_testing::eventually;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::harness::{Ingest, SOON, TestApp, post_head, problem, student};

async fn send(ingest: &Ingest, key: &str, submission: &Value) -> Response {
    ingest
        .post(submission)
        .header("idempotency-key", key)
        .send()
        .await
        .unwrap()
}

async fn accepted(answer: Response) -> (bool, Value) {
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let replayed = answer
        .headers()
        .get("idempotency-replayed")
        .is_some_and(|value| value == "true");
    (replayed, answer.json().await.unwrap())
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_and_is_not_stored() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let (replayed, first) = accepted(send(&ingest, "k-1", &student()).await).await;
    assert!(!replayed);
    // What is compared is what is stored, so spaces and order of encoding do not matter.
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
async fn keys_are_remembered_over_a_restart() {
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
async fn a_client_that_leaves_does_not_block_its_key() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let body = student().to_string();
    for n in 0..10 {
        let head = format!(
            "Content-Length: {}\r\nIdempotency-Key: left-{n}\r\n",
            body.len()
        );
        drop(ingest.raw(post_head(&head) + &body).await);
    }
    for n in 0..10 {
        let key = format!("left-{n}");
        let settled =
            async || send(&ingest, &key, &student()).await.status() == StatusCode::ACCEPTED;
        eventually(SOON, settled).await;
    }
    assert_eq!(ingest.records().await.len(), 10);
}

#[tokio::test]
async fn many_at_once_with_one_key_are_stored_once() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let student = student();
    let answers = futures::future::join_all((0..20).map(|_| send(&ingest, "race", &student))).await;
    let statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    assert!(
        statuses.iter().all(|status| [202, 409].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&202));
    assert_eq!(ingest.records().await.len(), 1);
}
