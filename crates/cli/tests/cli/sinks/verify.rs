//! `formline verify`: what it finds while everything works, and after rows were changed or lost.

use std::{net::TcpListener, thread};

use formline_core::EventId;
use formline_testing::{Postgres, free_port, unique};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::pipeline::{HELLO, Pipeline, write_app};
use crate::support::{assert_contains, formline, output_text};

/// Deliveries to both sinks, without any list of problems.
fn delivered(count: u64) -> [(&'static str, u64, Value); 2] {
    [("/sheet", count, json!({})), ("/archive", count, json!({}))]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_submission_is_accounted_for_at_every_sink() {
    let mut pipeline = Pipeline::with_archive().await;
    let first = pipeline.submit(HELLO).await;
    // Two processes have accepted the same key.
    let (keyed, now) = (EventId::keyed(&pipeline.name, "key"), Timestamp::now());
    pipeline.write(keyed, now, Some("f"), HELLO).await;
    let again = now + SignedDuration::from_secs(1);
    pipeline.write(keyed, again, Some("f"), HELLO).await;
    let earlier = now - SignedDuration::from_hours(30);
    pipeline.write(EventId::new(), earlier, None, HELLO).await;

    let verdict = pipeline.verify_at_rest();
    verdict.assert(0, &delivered(2));
    assert_eq!(verdict.json["submissions"], 2);
    assert_eq!(verdict.json["repetitions"], 1);
    let longer = pipeline.verify(&["--since", "2d", "--wait", "2m"]);
    assert_eq!(longer.json["submissions"], 3);
    let text = output_text(&pipeline.run_verify(&[]));
    assert!(text.starts_with("2 submissions since 20"), "{text}");

    pipeline.stop_sink().await;
    let waiting = pipeline.submit(HELLO).await;
    let under_way = json!({ "under_way": [waiting] });
    let expected = [("/sheet", 2, under_way.clone()), ("/archive", 2, under_way)];
    pipeline.verify(&[]).assert(0, &expected);
    pipeline.restart_sink().await;
    pipeline.verify_at_rest().assert(0, &delivered(3));

    // A user deletes a row that both sinks had delivered.
    Postgres::execute(
        &pipeline.database,
        &format!("DELETE FROM formline.responses WHERE id = '{first}'"),
    );
    let missing = json!({ "missing": [first] });
    let expected = [("/sheet", 3, json!({})), ("/archive", 2, missing)];
    pipeline.verify(&[]).assert(1, &expected);
    let output = pipeline.run_verify(&["--sink", "archive"]);
    assert_eq!(output.status.code(), Some(1));
    let listed = format!("/archive:\n  {first}\n");
    assert_contains(&output_text(&output), &[&listed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_user_in_the_sheet_are_found() {
    let pipeline = Pipeline::with_archive().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(pipeline.submit(HELLO).await);
    }
    pipeline.verify_at_rest().assert(0, &delivered(3));
    let assert_sheet = |count, lists| {
        let expected = [("/sheet", count, lists), ("/archive", 3, json!({}))];
        pipeline.verify(&[]).assert(1, &expected);
    };

    pipeline.edit_cell("A2", &ids[1]).await;
    pipeline.edit_cell("A3", &ids[0]).await;
    let spreadsheet = &pipeline.name;
    let row = json!({ "id": ids[0], "spreadsheet": spreadsheet, "tab": "Responses", "row": 3 });
    assert_sheet(3, json!({ "disorder": [row] }));

    pipeline.edit_cell("A2", &ids[0]).await;
    pipeline.edit_cell("A3", &ids[2]).await;
    assert_sheet(1, json!({ "missing": [ids[1]], "doubled": [ids[2]] }));

    pipeline.edit_cell("A3", "").await;
    assert_sheet(2, json!({ "missing": [ids[1]] }));

    pipeline.edit_cell("A1", "Number").await;
    let failed = pipeline.run_verify(&[]);
    assert_eq!(failed.status.code(), Some(1));
    assert_contains(&output_text(&failed), &["`Submission`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_reported_with_its_reason() {
    let pipeline = Pipeline::with_archive().await;
    pipeline.submit(HELLO).await;
    // The step and PostgreSQL reject it.
    let invalid = pipeline.submit("no json").await;
    let verdict = pipeline.verify_at_rest();
    assert_eq!(verdict.code, Some(0), "{:#}", verdict.json);
    for (sink, stop) in [("/sheet", "rows"), ("/archive", "archive")] {
        let letters = &verdict.sink(sink)["dead_letters"];
        assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
        assert_eq!(letters[0]["id"], invalid.as_str());
        assert_eq!(letters[0]["at"], stop);
        assert_eq!(verdict.sink(sink)["delivered"], 1);
    }
    let text = output_text(&pipeline.run_verify(&[]));
    let listed = format!("{invalid}  dead letter at rows: ");
    assert_contains(&text, &[&listed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_destination_is_retried_and_then_reported() {
    let mut pipeline = Pipeline::with_archive().await;
    let id = pipeline.submit(HELLO).await;
    pipeline.verify_at_rest().assert(0, &delivered(1));

    // The first connection to the sheet is closed without a response.
    pipeline.stop_emulator();
    let listener = TcpListener::bind(&pipeline.sheets).unwrap();
    let verdict = thread::scope(|scope| {
        let verifying = scope.spawn(|| pipeline.verify(&["--sink", "sheet"]));
        drop(listener.accept().unwrap());
        drop(listener);
        pipeline.start_emulator();
        verifying.join().unwrap()
    });
    assert_eq!(verdict.sink("/sheet")["delivered"], 1, "{:#}", verdict.json);

    let nowhere = format!("postgres://a@127.0.0.1:{}/forms", free_port());
    pipeline.set("FORMLINE_POSTGRES_URL", nowhere);
    let failed = pipeline.run_verify(&["--sink", "archive"]);
    assert_eq!(failed.status.code(), Some(1));
    let text = output_text(&failed);
    assert_contains(&text, &["cannot be read"]);
    assert!(!text.contains(&id), "reported as missing: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    write_app(folder.path(), &unique("demo"), "");
    for (arguments, code, part) in [
        (&["--since", "soon"][..], 64, "or a duration such as 90s"),
        (&["--wait", "2d"], 64, "at most a day"),
        (&["--sink", "nope"], 1, "no app has a sink `nope`"),
    ] {
        let mut command = formline();
        let command = command.arg("verify").arg("--app").arg(folder.path());
        let command = command.args(["--bootstrap", "127.0.0.1:1"]);
        let rejected = command.args(arguments).output().unwrap();
        let text = output_text(&rejected);
        assert_eq!(rejected.status.code(), Some(code), "{text}");
        assert_contains(&text, &[part]);
    }
}
