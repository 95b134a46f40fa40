//! Planned faults: each kind, and what is in the sheet afterwards.

use std::time::{Duration, Instant};

use formline_testing::eventually;
use serde_json::{Value, json};

use crate::vocabulary::{ID, SOON, Server, append, mark};

const FAULTS: &str = "/admin/faults";

/// Sends one row; `None` if no whole answer came.
async fn write(server: &Server, patience: Duration) -> Option<u16> {
    let body = json!({ "requests": [append(0, &[&["x"]])] });
    let request = server
        .http
        .post(format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base));
    let answer = request.json(&body).timeout(patience).send().await.ok()?;
    let status = answer.status().as_u16();
    answer.bytes().await.ok()?;
    Some(status)
}

/// Sends one row, and goes away once the server has taken the request and the fault that was planned for it.
async fn write_and_leave(server: &Server) {
    let left = planned(server).await - 1;
    let body = json!({ "requests": [append(0, &[&["x"]])] });
    let url = format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base);
    let write = tokio::spawn(server.http.post(url).json(&body).send());
    eventually(SOON, async || planned(server).await == left).await;
    assert!(!write.is_finished(), "it was answered");
    write.abort();
}

/// How many faults are still to come.
async fn planned(server: &Server) -> usize {
    server.get(FAULTS).await.ok().as_array().unwrap().len()
}

async fn rows(server: &Server) -> usize {
    server.values("Sheet1").await.as_array().unwrap().len()
}

#[tokio::test]
async fn refused_writes_are_not_applied() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "refuse", "times": 2 }, { "kind": "refuse", "status": 429 }]))
        .await;
    assert_eq!(write(&server, SOON).await, Some(503));
    assert_eq!(write(&server, SOON).await, Some(503));
    assert_eq!(write(&server, SOON).await, Some(429));
    assert_eq!(rows(&server).await, 0);
    assert_eq!(write(&server, SOON).await, Some(200));
    assert_eq!(rows(&server).await, 1);
}

#[tokio::test]
async fn an_error_after_the_write_hides_that_it_happened() {
    let (server, _folder) = Server::start().await;
    server.plan_faults(json!([{ "kind": "apply_then_status" }, { "kind": "apply_then_status", "status": 503 }])).await;
    assert_eq!(write(&server, SOON).await, Some(500));
    assert_eq!(write(&server, SOON).await, Some(503));
    assert_eq!(rows(&server).await, 2);
}

#[tokio::test]
async fn a_write_that_fails_by_itself_says_so() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "apply_then_cut" }]))
        .await;
    let message = server.batch(json!([append(9, &[&["x"]])])).await.invalid();
    assert!(message.contains("No grid with id: 9"), "{message}");
}

#[tokio::test]
async fn a_cut_answer_has_a_good_status_and_half_a_body() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "apply_then_cut", "times": 2 }]))
        .await;
    let body = json!({ "requests": [append(0, &[&["x"]])] });
    let request = server
        .http
        .post(format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base));
    let mut answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let whole = usize::try_from(answer.content_length().unwrap()).unwrap();
    let half = answer.chunk().await.unwrap().unwrap();
    assert!(half.len() * 2 <= whole, "{} of {whole}", half.len());
    assert!(answer.chunk().await.is_err());
    assert_eq!(write(&server, SOON).await, None);
    assert_eq!(rows(&server).await, 2);
}

#[tokio::test]
async fn a_delayed_write_happens_although_the_client_has_gone() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(
            json!([{ "kind": "delay", "delay_ms": 300 }, { "kind": "delay", "delay_ms": 3_000 }]),
        )
        .await;
    let start = Instant::now();
    assert_eq!(write(&server, SOON).await, Some(200));
    assert!(start.elapsed() >= Duration::from_millis(300));
    write_and_leave(&server).await;
    eventually(SOON, async || rows(&server).await == 2).await;
}

#[tokio::test]
async fn a_hanging_write_is_never_answered() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "hang" }, { "kind": "apply_then_hang" }]))
        .await;
    write_and_leave(&server).await;
    assert_eq!(rows(&server).await, 0);
    write_and_leave(&server).await;
    eventually(SOON, async || rows(&server).await == 1).await;
}

#[tokio::test]
async fn a_write_that_is_delivered_twice_is_applied_twice_unless_its_mark_refuses_it() {
    let (server, _folder) = Server::start().await;
    let twice = json!([{ "kind": "apply_twice" }]);
    server.plan_faults(twice.clone()).await;
    assert_eq!(write(&server, SOON).await, Some(200));
    assert_eq!(rows(&server).await, 2);
    server.plan_faults(twice).await;
    let marked = json!([mark(1, 0, "a"), append(0, &[&["x"]])]);
    let message = server.batch(marked).await.invalid();
    assert!(message.contains("already exists"), "{message}");
    assert_eq!(rows(&server).await, 3);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_planned_faults() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(
            json!([{ "kind": "hang", "times": 3 }, { "kind": "delay", "delay_ms": 600_000 }]),
        )
        .await;
    let (http, url) = (
        server.http.clone(),
        format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base),
    );
    let hanging: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(
                http.post(&url)
                    .json(&json!({ "requests": [append(0, &[&["x"]])] }))
                    .send(),
            )
        })
        .collect();
    eventually(SOON, async || server.get(FAULTS).await.ok() == json!([])).await;
    // The delay that is planned takes ten minutes.
    let stopped = tokio::time::timeout(SOON, server.stop()).await;
    assert!(stopped.is_ok(), "it waits");
    for write in hanging {
        // The head of an answer may have come, never its body.
        if let Ok(answer) = write.await.unwrap() {
            assert!(answer.bytes().await.is_err());
        }
    }
}

#[tokio::test]
async fn faults_are_for_writes_unless_they_say_so_and_can_be_taken_back() {
    let (server, _folder) = Server::start().await;
    let planned = json!([{ "kind": "refuse", "status": 503, "times": 5 }]);
    server.plan_faults(planned).await;
    assert_eq!(rows(&server).await, 0);
    let waiting = server.get(FAULTS).await.ok();
    assert_eq!(
        waiting,
        json!([{ "kind": "refuse", "on": "write", "status": 503, "delay_ms": 0, "times": 5 }])
    );
    let cleared = server
        .http
        .delete(format!("{}{FAULTS}", server.base))
        .send()
        .await
        .unwrap();
    assert_eq!(cleared.json::<Value>().await.unwrap(), json!([]));
    assert_eq!(write(&server, SOON).await, Some(200));
}

/// Reads in each of the ways in which the sink does; the status, none if no whole answer came.
async fn read(server: &Server, way: usize) -> Option<u16> {
    let base = format!("{}/v4/spreadsheets/{ID}", server.base);
    let everything = json!({ "dataFilters": [{ "developerMetadataLookup": {} }] });
    let request = match way % 3 {
        0 => server.http.get(base),
        1 => server.http.get(format!("{base}/values/Sheet1")),
        _ => (server.http.post(format!("{base}/developerMetadata:search"))).json(&everything),
    };
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    answer.bytes().await.ok().map(|_| status)
}

#[tokio::test]
async fn reads_meet_their_own_faults_and_leave_those_of_writes() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([
            { "kind": "refuse", "status": 429 },
            { "kind": "refuse", "on": "read", "times": 3 },
            { "kind": "apply_then_cut", "on": "read", "times": 3 },
            { "kind": "delay", "on": "read", "delay_ms": 300 },
            { "kind": "hang", "on": "read" },
        ]))
        .await;
    for way in 0..3 {
        assert_eq!(read(&server, way).await, Some(503));
    }
    for way in 0..3 {
        assert_eq!(read(&server, way).await, None, "it was cut");
    }
    let start = Instant::now();
    assert_eq!(read(&server, 0).await, Some(200));
    assert!(start.elapsed() >= Duration::from_millis(300));
    let url = format!("{}/v4/spreadsheets/{ID}", server.base);
    let hanging = tokio::spawn(server.http.get(url).send());
    eventually(SOON, async || planned(&server).await == 1).await;
    assert_eq!(read(&server, 2).await, Some(200));
    assert!(!hanging.is_finished(), "it was answered");
    hanging.abort();
    assert_eq!(write(&server, SOON).await, Some(429));
}

#[tokio::test]
async fn tokens_are_refused_as_planned() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "refuse", "on": "token" }]))
        .await;
    let ask = async || {
        let grant = server.http.post(format!("{}/token", server.base));
        let form = grant.body("grant_type=none").send().await.unwrap();
        form.status().as_u16()
    };
    assert_eq!(ask().await, 503);
    assert_eq!(ask().await, 400, "the next one is judged by what it says");
}

#[tokio::test]
async fn faults_that_make_no_sense_are_refused() {
    let (server, _folder) = Server::start().await;
    for bad in [
        json!([{ "kind": "explode" }]),
        json!([{ "kind": "refuse", "status": 200 }]),
        json!([{ "kind": "refuse", "times": 0 }]),
        json!([{ "kind": "delay" }]),
        json!([{ "kind": "delay", "delay_ms": 600_001 }]),
        json!([{ "kind": "refuse", "when": "now" }]),
        json!([{ "kind": "refuse", "on": "page" }]),
        json!({ "kind": "refuse" }),
        json!(vec![json!({ "kind": "refuse" }); 10_001]),
        json!([{ "kind": "refuse" }, { "kind": "refuse", "status": 99 }]),
    ] {
        server.post(FAULTS, &bad).await.invalid();
    }
    assert_eq!(server.get(FAULTS).await.ok(), json!([]));
}
