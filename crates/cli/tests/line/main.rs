//! The main job as its users see it: a form goes in, a row comes out, whatever happens in between.
#![allow(clippy::unwrap_used, clippy::panic)]

mod plugins;
mod rebalance;
mod restore;
mod sinks;
mod swaps;
mod top;
mod vocabulary;

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

use vocabulary::{
    Line, PATIENCE, Seed, accepted_id, assert_exactly_once_in_order, is_drill, student,
};

const CLIENTS: usize = 1000;
const SUBMISSIONS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_form_becomes_a_row_that_a_person_can_look_at() {
    let mut line = Line::start(kafka().await.bootstrap()).await;
    let id = accepted_id(line.submit(&student(99999)).await).await;
    let rows = eventually(PATIENCE, async || {
        line.rows().await.filter(|rows| !rows.is_empty())
    })
    .await;
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
        "example.org",
    ];
    assert_eq!(
        rows[0].cells, expected,
        "the last one comes from the step `enrich`"
    );
    assert!(line.sheet_page().await.contains("Saurabh raj"));

    let metrics = line.metrics().await;
    for name in [
        "formline_submissions_total",
        "formline_step_events_total",
        "formline_sink_records_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    assert!(line.terminate().await.success(), "{}", line.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_at_once_end_as_five_thousand_rows_in_order() {
    let line = Arc::new(Line::start(kafka().await.bootstrap()).await);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let line = Arc::clone(&line);
        clients.spawn(async move {
            let mut ids = Vec::new();
            for n in 0..SUBMISSIONS {
                ids.push(accepted_id(line.submit(&student(client * SUBMISSIONS + n)).await).await);
            }
            ids
        });
    }
    let accepted: BTreeSet<String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(accepted.len(), CLIENTS * SUBMISSIONS);
    let rows = all_rows(&line, accepted.len()).await;
    assert_exactly_once_in_order(&rows, &accepted);
    assert!(rows.iter().all(|row| !row.late), "nothing was late");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_the_sheet_holds_exactly_what_was_accepted() {
    let mut seed = Seed::new();
    let rounds = if is_drill() { 10 } else { 1 };
    for round in 1..=rounds {
        let (accepted, line) = submit_while_it_is_killed(&mut seed).await;
        let rows = all_rows(&line, accepted.len()).await;
        assert_exactly_once_in_order(&rows, &accepted);
        let late = rows.iter().filter(|row| row.late).count();
        println!(
            "round {round} of {rounds}: {} rows, each once, {late} of them late",
            rows.len()
        );
    }
}

/// Clients submit with a key of their own for each submission and repeat what got no answer, while the process is
/// killed three times, each time when a random number of submissions has been accepted.
async fn submit_while_it_is_killed(seed: &mut Seed) -> (BTreeSet<String>, Line) {
    let mut line = Line::start(kafka().await.bootstrap()).await;
    let (http, form) = (line.http.clone(), line.form());
    let count = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (http, form, count) = (http.clone(), form.clone(), Arc::clone(&count));
        clients.spawn(async move {
            let mut ids = Vec::new();
            for n in 0..SUBMISSIONS {
                ids.push(submit_until_accepted(&http, &form, client * SUBMISSIONS + n).await);
                count.fetch_add(1, Ordering::Relaxed);
            }
            ids
        });
    }
    let total = (CLIENTS * SUBMISSIONS) as u64;
    let mut moments = [(); 3].map(|()| seed.below(total));
    moments.sort_unstable();
    for moment in moments {
        eventually(PATIENCE, async || count.load(Ordering::Relaxed) >= moment).await;
        line.kill9();
        println!("killed after {} answers", count.load(Ordering::Relaxed));
        line.start_again().await;
    }
    let accepted = clients.join_all().await.into_iter().flatten().collect();
    (accepted, line)
}

async fn submit_until_accepted(http: &reqwest::Client, form: &str, roll: usize) -> String {
    let mut first_answer: Option<String> = None;
    loop {
        let request = http
            .post(form)
            .header("idempotency-key", format!("\"roll-{roll}\""))
            .json(&student(roll));
        let answer = match request.send().await {
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => answer.json::<Value>().await,
            Ok(answer) => {
                let busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::CONFLICT];
                assert!(busy.contains(&answer.status()), "{}", answer.status());
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(error) => Err(error),
        };
        if let Ok(body) = answer {
            let id = body["id"].as_str().unwrap().to_owned();
            // The answer is repeated once more: the same key must give the same answer.
            match first_answer {
                Some(first) => {
                    assert_eq!(first, id);
                    return id;
                }
                None if roll.is_multiple_of(10) => first_answer = Some(id),
                None => return id,
            }
        } else {
            // It is being killed or started.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_nothing_is_accepted_and_with_it_the_line_goes_on() {
    let mut kafka = Kafka::start_own().await;
    let line = Line::start(kafka.bootstrap()).await;
    let mut accepted = BTreeSet::new();
    accepted.insert(accepted_id(line.submit(&student(1)).await).await);

    kafka.stop().await;
    let refused = line.submit(&student(2)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["status"], 503);

    kafka.restart().await;
    let answer = eventually(PATIENCE, async || {
        let answer = line.submit(&student(3)).await;
        (answer.status() == StatusCode::ACCEPTED).then_some(answer)
    })
    .await;
    accepted.insert(accepted_id(answer).await);
    let rows = all_rows(&line, 2).await;
    assert_exactly_once_in_order(&rows, &accepted);
}

/// The sheet, once it has at least so many rows.
async fn all_rows(line: &Line, count: usize) -> Vec<vocabulary::Row> {
    eventually(PATIENCE, async || {
        let rows = line.rows().await.unwrap_or_default();
        if rows.len() >= count {
            Ok(rows)
        } else {
            Err(format!("{} of {count} rows", rows.len()))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_traced_from_its_form_to_the_sheet() {
    let line = Line::start(kafka().await.bootstrap()).await;
    let id = accepted_id(line.submit(&student(1)).await).await;
    let another = accepted_id(line.submit(&student(2)).await).await;
    all_rows(&line, 2).await;
    let trace = eventually(PATIENCE, async || {
        let traced = line.look(&["trace", &id, "--json"]);
        let trace: Value = serde_json::from_slice(&traced.stdout).unwrap_or_default();
        // The sink commits a moment after its row is in the sheet.
        let has_passed = trace["sinks"][0]["passed"] == true;
        let mut records = trace["records"].as_array().into_iter().flatten();
        let is_counted = records.any(|record| record["stage"] == "state");
        if has_passed && is_counted {
            Ok(trace)
        } else {
            Err(trace)
        }
    })
    .await;
    assert_eq!(
        trace["sinks"][0]["sink"],
        format!("{}/student-sheet", line.name)
    );
    let records = trace["records"].as_array().unwrap();
    let topics: Vec<_> = records
        .iter()
        .filter(|record| record["stage"] != "state")
        .map(|record| record["topic"].as_str().unwrap())
        .collect();
    let main = ["", ".enriched", ".rows"].map(|topic| format!("{}{topic}", line.name));
    let places = main
        .each_ref()
        .map(|topic| topics.iter().position(|found| found == topic));
    assert!(places[0].is_some() && places.is_sorted(), "{topics:?}");
    assert_eq!(records[0]["id"], id.as_str());
    assert!(!trace.to_string().contains(&another));

    let text = line.look(&["trace", &id]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("student-sheet has passed it"), "{text}");
    for missing in ["no-id", "019ab111-0000-7000-8000-000000000000"] {
        let nowhere = line.look(&["trace", missing, "--since", "1h"]);
        assert_eq!(nowhere.status.code(), Some(1));
        let told = String::from_utf8_lossy(&nowhere.stderr).into_owned();
        assert!(told.contains("is in no topic"), "{told}");
    }
}
