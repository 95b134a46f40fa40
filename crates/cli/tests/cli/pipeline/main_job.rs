//! The main job as its users see it: submissions go in, rows come out, whatever fails in between.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use formline_testing::{Kafka, eventually, kafka};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use super::system::{System, accepted_id, assert_exactly_once_in_order};
use crate::support::{DEADLINE, Seed, assert_contains, is_drill, output_text, student};

const CLIENTS: usize = 1000;
const SUBMISSIONS_PER_CLIENT: usize = 5;

/// Pause before a client repeats a request that was not accepted.
const RETRY_AFTER: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_becomes_a_row() {
    let mut system = System::start(kafka().await.bootstrap()).await;
    let id = accepted_id(system.submit(&student(99999)).await).await;
    let rows = system.wait_for_rows(1).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].id, id);
    let expected = [
        "99999",
        "Saurabh raj",
        "BCE",
        "8.04",
        "F",
        "10.11",
        "saurabh@example.org",
        "7004465984",
        // Added by the step `enrich`.
        "example.org",
    ];
    assert_eq!(rows[0].cells, expected);
    assert_contains(&system.sheet_page().await, &["Saurabh raj"]);

    let names = [
        "formline_submissions_total",
        "formline_step_events_total",
        "formline_sink_records_total",
    ];
    assert_contains(&system.metrics().await, &names);
    assert!(system.terminate().await.success(), "{}", system.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_clients_become_five_thousand_rows_in_order() {
    let system = Arc::new(System::start(kafka().await.bootstrap()).await);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let system = Arc::clone(&system);
        clients.spawn(async move {
            let mut ids = Vec::new();
            for n in 0..SUBMISSIONS_PER_CLIENT {
                let student = student(client * SUBMISSIONS_PER_CLIENT + n);
                ids.push(accepted_id(system.submit(&student).await).await);
            }
            ids
        });
    }
    let accepted: BTreeSet<String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(accepted.len(), CLIENTS * SUBMISSIONS_PER_CLIENT);
    let rows = system.wait_for_rows(accepted.len()).await;
    assert_exactly_once_in_order(&rows, &accepted);
    assert!(rows.iter().all(|row| !row.late), "a row is late");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kills_the_sheet_contains_exactly_the_accepted_submissions() {
    let mut seed = Seed::new();
    let rounds = if is_drill() { 10 } else { 1 };
    for round in 1..=rounds {
        let (accepted, system) = submit_during_kills(&mut seed).await;
        let rows = system.wait_for_rows(accepted.len()).await;
        assert_exactly_once_in_order(&rows, &accepted);
        let late = rows.iter().filter(|row| row.late).count();
        println!(
            "round {round} of {rounds}: {} rows, each once, {late} of them late",
            rows.len()
        );
    }
}

/// Clients submit with an `Idempotency-Key` for each submission and repeat what was not answered,
/// while the process is killed three times, each time after a random number of accepted
/// submissions.
async fn submit_during_kills(seed: &mut Seed) -> (BTreeSet<String>, System) {
    let mut system = System::start(kafka().await.bootstrap()).await;
    let (http, form) = (system.http.clone(), system.form());
    let count = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (http, form, count) = (http.clone(), form.clone(), Arc::clone(&count));
        clients.spawn(async move {
            let mut ids = Vec::new();
            for n in 0..SUBMISSIONS_PER_CLIENT {
                let roll = client * SUBMISSIONS_PER_CLIENT + n;
                ids.push(submit_until_accepted(&http, &form, roll).await);
                count.fetch_add(1, Ordering::Relaxed);
            }
            ids
        });
    }
    let total = (CLIENTS * SUBMISSIONS_PER_CLIENT) as u64;
    let mut kills = [(); 3].map(|()| seed.below(total));
    kills.sort_unstable();
    for kill in kills {
        eventually(DEADLINE, async || count.load(Ordering::Relaxed) >= kill).await;
        system.kill9();
        println!("killed after {} responses", count.load(Ordering::Relaxed));
        system.restart().await;
    }
    let accepted = clients.join_all().await.into_iter().flatten().collect();
    (accepted, system)
}

/// Repeats a submission until it is accepted. One in ten is then repeated once more, and must get
/// the same id.
async fn submit_until_accepted(http: &reqwest::Client, form: &str, roll: usize) -> String {
    let mut first_id: Option<String> = None;
    loop {
        let Some(id) = try_submit(http, form, roll).await else {
            tokio::time::sleep(RETRY_AFTER).await;
            continue;
        };
        match first_id {
            Some(first) => {
                assert_eq!(first, id, "the same key, another id");
                return id;
            }
            None if roll.is_multiple_of(10) => first_id = Some(id),
            None => return id,
        }
    }
}

/// The id if the submission was accepted. None while the process is down, starting or busy.
async fn try_submit(http: &reqwest::Client, form: &str, roll: usize) -> Option<String> {
    let request = http
        .post(form)
        .header("idempotency-key", format!("\"roll-{roll}\""))
        .json(&student(roll));
    let response = request.send().await.ok()?;
    if response.status() != StatusCode::ACCEPTED {
        let busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::CONFLICT];
        assert!(busy.contains(&response.status()), "{}", response.status());
        return None;
    }
    let body: Value = response.json().await.ok()?;
    Some(body["id"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_submissions_are_rejected_until_it_is_back() {
    let mut kafka = Kafka::start_own().await;
    let system = System::start(kafka.bootstrap()).await;
    let mut accepted = BTreeSet::new();
    accepted.insert(accepted_id(system.submit(&student(1)).await).await);

    kafka.stop().await;
    let rejected = system.submit(&student(2)).await;
    assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(rejected.headers().contains_key("retry-after"));
    let problem: Value = rejected.json().await.unwrap();
    assert_eq!(problem["status"], 503);

    kafka.restart().await;
    let response = eventually(DEADLINE, async || {
        let response = system.submit(&student(3)).await;
        (response.status() == StatusCode::ACCEPTED).then_some(response)
    })
    .await;
    accepted.insert(accepted_id(response).await);
    let rows = system.wait_for_rows(2).await;
    assert_exactly_once_in_order(&rows, &accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_traced_from_its_form_to_the_sheet() {
    let system = System::start(kafka().await.bootstrap()).await;
    let id = accepted_id(system.submit(&student(1)).await).await;
    let another = accepted_id(system.submit(&student(2)).await).await;
    system.wait_for_rows(2).await;
    let trace = complete_trace(&system, &id).await;
    let sink = format!("{}/student-sheet", system.name);
    assert_eq!(trace["sinks"][0]["sink"], sink);
    let records = trace["records"].as_array().unwrap();
    let topics: Vec<_> = records
        .iter()
        .filter(|record| record["stage"] != "state")
        .map(|record| record["topic"].as_str().unwrap())
        .collect();
    let route = ["", ".enriched", ".rows"].map(|topic| format!("{}{topic}", system.name));
    let positions = route
        .each_ref()
        .map(|topic| topics.iter().position(|found| found == topic));
    assert!(positions[0].is_some(), "{topics:?}");
    assert!(positions.is_sorted(), "{topics:?}");
    assert_eq!(records[0]["id"], id.as_str());
    assert!(!trace.to_string().contains(&another));

    let text = output_text(&system.run_on_kafka(&["trace", &id]));
    assert_contains(&text, &["student-sheet has passed it"]);
    for missing in ["no-id", "019ab111-0000-7000-8000-000000000000"] {
        let failed = system.run_on_kafka(&["trace", missing, "--since", "1h"]);
        assert_eq!(failed.status.code(), Some(1));
        assert_contains(&output_text(&failed), &["is in no topic"]);
    }
}

/// The trace, once the sink has committed and the step `analytics` has changed its state: both
/// happen after the row is in the sheet.
async fn complete_trace(system: &System, id: &str) -> Value {
    eventually(DEADLINE, async || {
        let traced = system.run_on_kafka(&["trace", id, "--json"]);
        let trace: Value = serde_json::from_slice(&traced.stdout).unwrap_or_default();
        let has_passed = trace["sinks"][0]["passed"] == true;
        let mut records = trace["records"].as_array().into_iter().flatten();
        let has_state = records.any(|record| record["stage"] == "state");
        if has_passed && has_state {
            Ok(trace)
        } else {
            Err(trace)
        }
    })
    .await
}
