//! `formline verify` as an operator uses it, on real parts.

use std::process::Command;

use formline_core::EventId;
use formline_testing::{Postgres, free_port, unique};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::line::{HELLO, Line, text, write_app};

#[tokio::test(flavor = "multi_thread")]
async fn every_submission_is_accounted_for_at_every_sink() {
    let mut line = Line::with_archive().await;
    let first = line.submit(HELLO).await;
    // The same key came in twice, to two processes.
    let (keyed, now) = (EventId::keyed(&line.name, "key"), Timestamp::now());
    line.put(keyed, now, Some("f"), HELLO).await;
    let again = now + SignedDuration::from_secs(1);
    line.put(keyed, again, Some("f"), HELLO).await;
    let earlier = now - SignedDuration::from_hours(30);
    line.put(EventId::new(), earlier, None, HELLO).await;

    let well = line.verify_at_rest();
    well.expect(0, &[("/sheet", 2, json!({})), ("/archive", 2, json!({}))]);
    assert_eq!(well.json["submissions"], 2);
    assert_eq!(well.json["repetitions"], 1);
    let longer = line.verify(&["--since", "2d", "--wait", "2m"]);
    assert_eq!(longer.json["submissions"], 3);
    let told = text(&line.ask_verify(&[]));
    assert!(told.starts_with("2 submissions since 20"), "{told}");

    // While the sinks are away.
    line.stop_sink().await;
    let waiting = line.submit(HELLO).await;
    let under_way = json!({ "under_way": [waiting] });
    let verdict = line.verify(&[]);
    verdict.expect(
        0,
        &[("/sheet", 2, under_way.clone()), ("/archive", 2, under_way)],
    );
    line.start_sink_again().await;
    line.verify_at_rest()
        .expect(0, &[("/sheet", 3, json!({})), ("/archive", 3, json!({}))]);

    // A person has deleted what both held.
    Postgres::execute(
        &line.database,
        &format!("DELETE FROM formline.responses WHERE id = '{first}'"),
    );
    let missing = json!({ "missing": [first] });
    line.verify(&[]).expect(
        1,
        &[("/sheet", 3, json!({})), ("/archive", 2, missing.clone())],
    );
    let told = line.ask_verify(&["--sink", "archive"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(
        text(&told).contains(&format!("/archive:\n  {first}\n")),
        "{}",
        text(&told)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_that_a_person_has_changed_is_found_out() {
    let line = Line::with_archive().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(line.submit(HELLO).await);
    }
    let archive = || ("/archive", 3, json!({}));
    line.verify_at_rest()
        .expect(0, &[("/sheet", 3, json!({})), archive()]);

    line.type_into("A2", &ids[1]).await;
    line.type_into("A3", &ids[0]).await;
    let place = json!({ "id": ids[0], "spreadsheet": line.name, "tab": "Responses", "row": 3 });
    let disorder = json!({ "disorder": [place] });
    line.verify(&[])
        .expect(1, &[("/sheet", 3, disorder), archive()]);

    line.type_into("A2", &ids[0]).await;
    line.type_into("A3", &ids[2]).await;
    let gone = json!({ "missing": [ids[1]], "doubled": [ids[2]] });
    line.verify(&[])
        .expect(1, &[("/sheet", 1, gone), archive()]);

    line.type_into("A3", "").await;
    let gone = json!({ "missing": [ids[1]] });
    line.verify(&[])
        .expect(1, &[("/sheet", 2, gone), archive()]);

    line.type_into("A1", "Number").await;
    let refused = line.ask_verify(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("`Submission`"),
        "{}",
        text(&refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_a_dead_letter_with_its_reason() {
    let line = Line::with_archive().await;
    line.submit(HELLO).await;
    // Neither the step nor PostgreSQL takes it.
    let bad = line.submit("no json").await;
    let verdict = line.verify_at_rest();
    assert_eq!(verdict.code, Some(0), "{:#}", verdict.json);
    for (sink, stop) in [("/sheet", "rows"), ("/archive", "archive")] {
        let letters = &verdict.sink(sink)["dead_letters"];
        assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
        assert_eq!(letters[0]["id"], bad.as_str());
        assert_eq!(letters[0]["at"], stop);
        assert_eq!(verdict.sink(sink)["delivered"], 1);
    }
    let told = text(&line.ask_verify(&[]));
    assert!(
        told.contains(&format!("{bad}  dead letter at rows: ")),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_is_asked_again_and_then_named() {
    let mut line = Line::with_archive().await;
    let id = line.submit(HELLO).await;
    line.verify_at_rest()
        .expect(0, &[("/sheet", 1, json!({})), ("/archive", 1, json!({}))]);

    // Google hangs up at first.
    line.stop_emulator();
    let port = std::net::TcpListener::bind(&line.sheets).unwrap();
    let verdict = std::thread::scope(|scope| {
        let asking = scope.spawn(|| line.verify(&["--sink", "sheet"]));
        drop(port.accept().unwrap());
        drop(port);
        line.start_emulator();
        asking.join().unwrap()
    });
    assert_eq!(verdict.sink("/sheet")["delivered"], 1, "{:#}", verdict.json);

    // Nobody listens where the database should be.
    let nowhere = format!("postgres://a@127.0.0.1:{}/forms", free_port());
    line.set("FORMLINE_POSTGRES_URL", nowhere);
    let refused = line.ask_verify(&["--sink", "archive"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused);
    assert!(told.contains("has written cannot be read"), "{told}");
    assert!(!told.contains(&id), "nothing is said to be missing: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    write_app(folder.path(), &unique("demo"), "");
    let verify = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        let command = command.arg("verify").arg("--app").arg(folder.path());
        let command = command.args(["--bootstrap", "127.0.0.1:1"]);
        command.args(arguments).output().unwrap()
    };
    for (arguments, code, part) in [
        (&["--since", "soon"][..], 64, "or a duration such as 90s"),
        (&["--wait", "2d"], 64, "at most a day"),
        (&["--sink", "nope"], 1, "no app has a sink `nope`"),
    ] {
        let refused = verify(arguments);
        assert_eq!(refused.status.code(), Some(code), "{}", text(&refused));
        assert!(text(&refused).contains(part), "{}", text(&refused));
    }
}
