//! The state of steps: kept in files beside the changelog, moved to new schemas, and never trusted blindly.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use std::{fs, path::Path};

use formline_testing::eventually;
use serde_json::json;

use self::line::{Line, SOON, built, text, texts};

const RESTORED: [&str; 1] = ["formline_step_restored_records_total"];

/// A step that keeps the text of each event.
async fn keeping() -> Line {
    let mut line = Line::new(&["misbehave"]).await;
    line.form("in", 1).await;
    line.step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    line.start().await;
    line
}

async fn submit(line: &Line, values: &[&str]) {
    for value in values {
        line.submit("in", "key", value).await;
    }
}

/// What the step answers to an event, which is its last output.
async fn answer(line: &Line, question: &str) -> String {
    let known = line.records("out").len();
    line.submit("in", "key", question).await;
    text(line.wait_for("out", known + 1).await.last().unwrap())
}

/// The newer plug-in, whose entries have another form.
fn drop_moved(line: &Line) {
    line.drop_file("moved", &fs::read(built("moved")).unwrap());
}

async fn swapped(line: &Line, count: f64) {
    let swaps = ["formline_plugin_swaps_total", "swapped"];
    eventually(SOON, async || line.metric(&swaps).await == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_reads_only_what_the_files_do_not_contain() {
    let mut line = keeping().await;
    submit(&line, &["ok 1", "ok 2", "ok 3"]).await;
    line.wait_for("out", 3).await;
    line.stop().await;

    line.start().await;
    assert_eq!(
        line.metric(&RESTORED).await,
        1.0,
        "the last one, as a proof"
    );
    // Without a graceful stop the files stay as they were.
    let dead = line.leave();
    submit(&line, &["ok 4", "ok 5"]).await;
    line.wait_for("out", 5).await;
    let files = line.state("test");
    let copy = line.state("copy");
    copy_folder(&files, &copy);
    line.stop_other(dead).await;
    replace_folder(&copy, &files);
    line.start().await;
    let rest = line.metric(&RESTORED).await;
    assert!((3.0..=5.0).contains(&rest), "and the rest: {rest}");
    line.stop().await;

    fs::remove_dir_all(files).unwrap();
    line.start().await;
    let whole = line.metric(&RESTORED).await;
    assert!(whole > 1.0 + 5.0, "everything, and the host's own");
    drop_moved(&line);
    swapped(&line, 1.0).await;
    for n in 1..=5 {
        let kept = answer(&line, &format!("what ok {n}")).await;
        assert_eq!(kept, "seen, moved from seen 1");
    }
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_changelog_are_not_believed() {
    let mut one = keeping().await;
    submit(&one, &["ok mine"]).await;
    one.wait_for("out", 1).await;
    one.stop().await;
    let mut other = keeping().await;
    submit(&other, &["ok other", "ok another"]).await;
    other.wait_for("out", 2).await;
    other.stop().await;

    let step = |line: &Line| line.state("test").join(format!("{}.misbehave", line.app));
    replace_folder(&step(&one), &step(&other));
    other.start().await;
    drop_moved(&other);
    swapped(&other, 1.0).await;
    assert_eq!(answer(&other, "what ok mine").await, "nothing");
    assert_ne!(answer(&other, "what ok other").await, "nothing");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_stops_nothing_for_good() {
    let mut line = keeping().await;
    line.stop().await;
    let files = line.state("test");
    let _ = fs::remove_dir_all(&files);
    fs::write(&files, "in the way").unwrap();
    line.start().await;
    let long = "x".repeat(100_000);
    let values: Vec<String> = (0..50).map(|n| format!("ok {n} {long}")).collect();
    line.submit_all("in", "key", &values).await;
    eventually(SOON, async || {
        line.health().await.contains("the state file")
    })
    .await;
    fs::remove_file(&files).unwrap();
    let mut sent = values.clone();
    sent.sort();
    line.wait_for("out", sent.len()).await;
    line.wait_until_passed().await;
    assert_eq!(texts(&line.records("out")), sent);
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_schema_is_reached_before_the_next_event() {
    // More than one slice.
    const ENTRIES: usize = 2_500;
    let mut line = keeping().await;
    let values: Vec<String> = (0..ENTRIES).map(|n| format!("ok {n}")).collect();
    line.submit_all("in", "key", &values).await;
    submit(&line, &["drop this"]).await;
    line.wait_for("out", ENTRIES + 1).await;
    drop_moved(&line);
    swapped(&line, 1.0).await;
    for n in [0, 1_000, ENTRIES - 1] {
        let kept = answer(&line, &format!("what ok {n}")).await;
        assert_eq!(kept, "seen, moved from seen 1");
    }
    assert_eq!(answer(&line, "what drop this").await, "nothing");
    assert_eq!(answer(&line, "new").await, "new");
    assert_eq!(answer(&line, "what new").await, "seen 2");
    line.stop().await;

    // Moved once, also for those who know it from the changelog alone.
    fs::remove_dir_all(line.state("test")).unwrap();
    line.start().await;
    let kept = answer(&line, "what ok 7").await;
    assert_eq!(kept, "seen, moved from seen 1");
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_plugin_waits_for_one_that_knows_the_schema() {
    let mut line = keeping().await;
    submit(&line, &["ok"]).await;
    line.wait_for("out", 1).await;
    drop_moved(&line);
    swapped(&line, 1.0).await;
    assert_ne!(answer(&line, "what ok").await, "nothing");

    fs::remove_file(line.plugin_file("moved")).unwrap();
    let unfit = ["formline_plugin_swaps_total", "unfit"];
    eventually(SOON, async || line.metric(&unfit).await == 1.0).await;
    assert_ne!(
        answer(&line, "what ok").await,
        "nothing",
        "the newer one runs on"
    );
    line.stop().await;

    line.spawn();
    submit(&line, &["what ok"]).await;
    eventually(SOON, async || {
        line.health()
            .await
            .contains("has version 2, and the plug-in declares 1")
    })
    .await;
    drop_moved(&line);
    let records = line.wait_for("out", 4).await;
    assert_eq!(text(&records[3]), "seen, moved from seen 1");
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_move_an_entry_is_taken_back() {
    let mut line = keeping().await;
    // More than one slice, and the bad one comes last.
    let values: Vec<String> = (0..1_200).map(|n| format!("ok {n}")).collect();
    line.submit_all("in", "key", &values).await;
    submit(&line, &["stuck"]).await;
    line.wait_for("out", values.len() + 1).await;
    line.wait_until_passed().await;
    drop_moved(&line);
    swapped(&line, 1.0).await;
    submit(&line, &["ok afterwards"]).await;
    let returned = ["formline_plugin_swaps_total", "returned"];
    eventually(SOON, async || line.metric(&returned).await == 1.0).await;
    line.wait_for("out", values.len() + 2).await;
    assert!(line.dead_letters("misbehave").is_empty());
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_go_back_count_nothing_twice() {
    let mut line = keeping().await;
    submit(&line, &["ok 1", "ok 2", "ok 3"]).await;
    line.wait_for("out", 3).await;
    line.wait_until_passed().await;
    line.stop().await;
    line.reset_offsets("misbehave").await;
    line.start().await;
    submit(&line, &["ok 4"]).await;
    line.wait_until_passed().await;
    assert_eq!(
        texts(&line.records("out")),
        ["ok 1", "ok 2", "ok 3", "ok 4"]
    );
    line.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_can_end_by_itself() {
    let mut line = Line::new(&["moved"]).await;
    line.form("in", 1).await;
    line.step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    line.start().await;
    let now = jiff::Timestamp::now().as_millisecond() - 10_000;
    for (after_ms, value) in [(0, "briefly a"), (999, "what a"), (1_000, "what a")] {
        line.submit_at("in", "key", value, now + after_ms).await;
    }
    let records = line.wait_for("out", 3).await;
    let answers: Vec<_> = records.iter().map(text).collect();
    assert_eq!(answers, ["briefly a", "seen briefly", "nothing"]);
    let kept = line.changelog("misbehave");
    let end = kept[0].text_header("formline-expires").unwrap();
    assert_eq!(end, (now + 1_000).to_string());
    line.stop().await;

    // Who rebuilds the state knows the end as well.
    fs::remove_dir_all(line.state("test")).unwrap();
    line.start().await;
    assert_eq!(answer(&line, "what a").await, "nothing");
    line.stop().await;
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn replace_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    copy_folder(from, to);
}
