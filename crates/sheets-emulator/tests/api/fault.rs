//! Planned faults: the effect of each kind on the client and on the sheet.

use std::time::{Duration, Instant};

use formline_testing::eventually;
use serde_json::{Value, json};

use crate::harness::{ID, Server, TIMEOUT, append, checkpoint};

const FAULTS: &str = "/admin/faults";

/// Sends one row; `None` if the response was not complete.
async fn write(server: &Server, timeout: Duration) -> Option<u16> {
    let body = json!({ "requests": [append(0, &[&["x"]])] });
    let request = server
        .http
        .post(format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base));
    let response = request.json(&body).timeout(timeout).send().await.ok()?;
    let status = response.status().as_u16();
    response.bytes().await.ok()?;
    Some(status)
}

/// Sends one row, and disconnects once the server has taken the request and its fault.
async fn write_and_disconnect(server: &Server) {
    let remaining = planned_faults(server).await - 1;
    let body = json!({ "requests": [append(0, &[&["x"]])] });
    let url = format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base);
    let write = tokio::spawn(server.http.post(url).json(&body).send());
    eventually(TIMEOUT, async || planned_faults(server).await == remaining).await;
    assert!(!write.is_finished(), "the request got a response");
    write.abort();
}

/// The number of planned faults.
async fn planned_faults(server: &Server) -> usize {
    server.get(FAULTS).await.ok().as_array().unwrap().len()
}

async fn rows(server: &Server) -> usize {
    server.values("Sheet1").await.as_array().unwrap().len()
}

#[tokio::test]
async fn a_refused_write_is_not_applied() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "refuse", "times": 2 }, { "kind": "refuse", "status": 429 }]))
        .await;
    assert_eq!(write(&server, TIMEOUT).await, Some(503));
    assert_eq!(write(&server, TIMEOUT).await, Some(503));
    assert_eq!(write(&server, TIMEOUT).await, Some(429));
    assert_eq!(rows(&server).await, 0);
    assert_eq!(write(&server, TIMEOUT).await, Some(200));
    assert_eq!(rows(&server).await, 1);
}

#[tokio::test]
async fn an_error_after_the_write_hides_that_it_was_applied() {
    let (server, _folder) = Server::start().await;
    server.plan_faults(json!([{ "kind": "apply_then_status" }, { "kind": "apply_then_status", "status": 503 }])).await;
    assert_eq!(write(&server, TIMEOUT).await, Some(500));
    assert_eq!(write(&server, TIMEOUT).await, Some(503));
    assert_eq!(rows(&server).await, 2);
}

#[tokio::test]
async fn the_error_of_an_invalid_write_is_not_affected() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "apply_then_cut" }]))
        .await;
    let message = server.batch(json!([append(9, &[&["x"]])])).await.invalid();
    assert!(message.contains("No grid with id: 9"), "{message}");
}

#[tokio::test]
async fn a_cut_response_has_the_correct_status_and_half_of_the_body() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "apply_then_cut", "times": 2 }]))
        .await;
    let body = json!({ "requests": [append(0, &[&["x"]])] });
    let request = server
        .http
        .post(format!("{}/v4/spreadsheets/{ID}:batchUpdate", server.base));
    let mut response = request.json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let total = usize::try_from(response.content_length().unwrap()).unwrap();
    let half = response.chunk().await.unwrap().unwrap();
    assert!(half.len() * 2 <= total, "{} of {total}", half.len());
    assert!(response.chunk().await.is_err());
    assert_eq!(write(&server, TIMEOUT).await, None);
    assert_eq!(rows(&server).await, 2);
}

#[tokio::test]
async fn a_delayed_write_is_applied_even_if_the_client_disconnects() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(
            json!([{ "kind": "delay", "delay_ms": 300 }, { "kind": "delay", "delay_ms": 3_000 }]),
        )
        .await;
    let start = Instant::now();
    assert_eq!(write(&server, TIMEOUT).await, Some(200));
    assert!(start.elapsed() >= Duration::from_millis(300));
    write_and_disconnect(&server).await;
    eventually(TIMEOUT, async || rows(&server).await == 2).await;
}

#[tokio::test]
async fn a_hanging_write_gets_no_response() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "hang" }, { "kind": "apply_then_hang" }]))
        .await;
    write_and_disconnect(&server).await;
    assert_eq!(rows(&server).await, 0);
    write_and_disconnect(&server).await;
    eventually(TIMEOUT, async || rows(&server).await == 1).await;
}

#[tokio::test]
async fn a_write_that_is_delivered_twice_is_applied_twice_without_a_checkpoint() {
    let (server, _folder) = Server::start().await;
    let twice = json!([{ "kind": "apply_twice" }]);
    server.plan_faults(twice.clone()).await;
    assert_eq!(write(&server, TIMEOUT).await, Some(200));
    assert_eq!(rows(&server).await, 2);
    server.plan_faults(twice).await;
    let with_checkpoint = json!([checkpoint(1, 0, "a"), append(0, &[&["x"]])]);
    let message = server.batch(with_checkpoint).await.invalid();
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
    eventually(TIMEOUT, async || server.get(FAULTS).await.ok() == json!([])).await;
    // The planned delay takes ten minutes.
    let stopped = tokio::time::timeout(TIMEOUT, server.stop()).await;
    assert!(stopped.is_ok(), "the stop waits for a planned fault");
    for write in hanging {
        // The headers of a response may have arrived, but never its body.
        if let Ok(response) = write.await.unwrap() {
            assert!(response.bytes().await.is_err());
        }
    }
}

#[tokio::test]
async fn faults_apply_to_writes_by_default_and_can_be_cleared() {
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
    assert_eq!(write(&server, TIMEOUT).await, Some(200));
}

/// Sends one of the reads that the sink uses. Returns the status, or `None` if the response was not
/// complete.
async fn read(server: &Server, kind: usize) -> Option<u16> {
    let base = format!("{}/v4/spreadsheets/{ID}", server.base);
    let everything = json!({ "dataFilters": [{ "developerMetadataLookup": {} }] });
    let request = match kind % 3 {
        0 => server.http.get(base),
        1 => server.http.get(format!("{base}/values/Sheet1")),
        _ => (server.http.post(format!("{base}/developerMetadata:search"))).json(&everything),
    };
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    response.bytes().await.ok().map(|_| status)
}

#[tokio::test]
async fn reads_take_only_the_faults_for_reads() {
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
    for kind in 0..3 {
        assert_eq!(read(&server, kind).await, Some(503));
    }
    for kind in 0..3 {
        assert_eq!(read(&server, kind).await, None, "the response was complete");
    }
    let start = Instant::now();
    assert_eq!(read(&server, 0).await, Some(200));
    assert!(start.elapsed() >= Duration::from_millis(300));
    let url = format!("{}/v4/spreadsheets/{ID}", server.base);
    let hanging = tokio::spawn(server.http.get(url).send());
    eventually(TIMEOUT, async || planned_faults(&server).await == 1).await;
    assert_eq!(read(&server, 2).await, Some(200));
    assert!(!hanging.is_finished(), "the request got a response");
    hanging.abort();
    assert_eq!(write(&server, TIMEOUT).await, Some(429));
}

#[tokio::test]
async fn faults_apply_to_token_requests() {
    let (server, _folder) = Server::start().await;
    server
        .plan_faults(json!([{ "kind": "refuse", "on": "token" }]))
        .await;
    let request_token = async || {
        let grant = server.http.post(format!("{}/token", server.base));
        let form = grant.body("grant_type=none").send().await.unwrap();
        form.status().as_u16()
    };
    assert_eq!(request_token().await, 503);
    assert_eq!(request_token().await, 400, "the next request has no fault");
}

#[tokio::test]
async fn invalid_faults_are_rejected() {
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
