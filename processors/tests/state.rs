//! The state of steps: it is kept in files beside the changelog, migrated to new schemas, and
//! verified before use.
#![allow(clippy::unwrap_used, clippy::panic)]

mod pipeline;

use std::{fs, path::Path};

use formline_testing::eventually;
use serde_json::json;

use self::pipeline::{Pipeline, SOON, built, text, texts};

const RESTORED: [&str; 1] = ["formline_step_restored_records_total"];

/// A step that stores the text of each event.
async fn keeping() -> Pipeline {
    let mut pipeline = Pipeline::new(&["misbehave"]).await;
    pipeline.form("in", 1).await;
    pipeline
        .step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    pipeline.start().await;
    pipeline
}

async fn submit(pipeline: &Pipeline, values: &[&str]) {
    for value in values {
        pipeline.submit("in", "key", value).await;
    }
}

/// The step's response to an event, which is its last output.
async fn answer(pipeline: &Pipeline, question: &str) -> String {
    let known = pipeline.records("out").len();
    pipeline.submit("in", "key", question).await;
    text(pipeline.wait_for("out", known + 1).await.last().unwrap())
}

/// Installs the newer plug-in, whose entries have another format.
fn drop_moved(pipeline: &Pipeline) {
    pipeline.drop_file("moved", &fs::read(built("moved")).unwrap());
}

async fn swapped(pipeline: &Pipeline, count: f64) {
    let swaps = ["formline_plugin_swaps_total", "swapped"];
    eventually(SOON, async || pipeline.metric(&swaps).await == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_reads_only_changes_that_the_files_do_not_contain() {
    let mut pipeline = keeping().await;
    submit(&pipeline, &["ok 1", "ok 2", "ok 3"]).await;
    pipeline.wait_for("out", 3).await;
    pipeline.stop().await;

    pipeline.start().await;
    assert_eq!(
        pipeline.metric(&RESTORED).await,
        1.0,
        "only the last record, which proves the changelog"
    );
    // Without a graceful stop the files remain as they were.
    let dead = pipeline.leave();
    submit(&pipeline, &["ok 4", "ok 5"]).await;
    pipeline.wait_for("out", 5).await;
    let files = pipeline.state("test");
    let copy = pipeline.state("copy");
    copy_folder(&files, &copy);
    pipeline.stop_other(dead).await;
    replace_folder(&copy, &files);
    pipeline.start().await;
    let rest = pipeline.metric(&RESTORED).await;
    assert!(
        (3.0..=5.0).contains(&rest),
        "the last record and the rest: {rest}"
    );
    pipeline.stop().await;

    fs::remove_dir_all(files).unwrap();
    pipeline.start().await;
    let whole = pipeline.metric(&RESTORED).await;
    assert!(whole > 1.0 + 5.0, "all records, and the host's own");
    drop_moved(&pipeline);
    swapped(&pipeline, 1.0).await;
    for n in 1..=5 {
        let kept = answer(&pipeline, &format!("what ok {n}")).await;
        assert_eq!(kept, "seen, moved from seen 1");
    }
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_changelog_are_not_used() {
    let mut one = keeping().await;
    submit(&one, &["ok mine"]).await;
    one.wait_for("out", 1).await;
    one.stop().await;
    let mut other = keeping().await;
    submit(&other, &["ok other", "ok another"]).await;
    other.wait_for("out", 2).await;
    other.stop().await;

    let step = |pipeline: &Pipeline| {
        pipeline
            .state("test")
            .join(format!("{}.misbehave", pipeline.app))
    };
    replace_folder(&step(&one), &step(&other));
    other.start().await;
    drop_moved(&other);
    swapped(&other, 1.0).await;
    assert_eq!(answer(&other, "what ok mine").await, "nothing");
    assert_ne!(answer(&other, "what ok other").await, "nothing");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_recovers_from_a_file_that_cannot_be_written() {
    let mut pipeline = keeping().await;
    pipeline.stop().await;
    let files = pipeline.state("test");
    let _ = fs::remove_dir_all(&files);
    fs::write(&files, "in the way").unwrap();
    pipeline.start().await;
    let long = "x".repeat(100_000);
    let values: Vec<String> = (0..50).map(|n| format!("ok {n} {long}")).collect();
    pipeline.submit_all("in", "key", &values).await;
    eventually(SOON, async || {
        pipeline.health().await.contains("the state file")
    })
    .await;
    fs::remove_file(&files).unwrap();
    let mut sent = values.clone();
    sent.sort();
    pipeline.wait_for("out", sent.len()).await;
    pipeline.wait_until_passed().await;
    assert_eq!(texts(&pipeline.records("out")), sent);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_are_migrated_before_the_next_event() {
    // This is more than one slice.
    const ENTRIES: usize = 2_500;
    let mut pipeline = keeping().await;
    let values: Vec<String> = (0..ENTRIES).map(|n| format!("ok {n}")).collect();
    pipeline.submit_all("in", "key", &values).await;
    submit(&pipeline, &["drop this"]).await;
    pipeline.wait_for("out", ENTRIES + 1).await;
    drop_moved(&pipeline);
    swapped(&pipeline, 1.0).await;
    for n in [0, 1_000, ENTRIES - 1] {
        let kept = answer(&pipeline, &format!("what ok {n}")).await;
        assert_eq!(kept, "seen, moved from seen 1");
    }
    assert_eq!(answer(&pipeline, "what drop this").await, "nothing");
    assert_eq!(answer(&pipeline, "new").await, "new");
    assert_eq!(answer(&pipeline, "what new").await, "seen 2");
    pipeline.stop().await;

    // A restore from the changelog finds the migrated entries.
    fs::remove_dir_all(pipeline.state("test")).unwrap();
    pipeline.start().await;
    let kept = answer(&pipeline, "what ok 7").await;
    assert_eq!(kept, "seen, moved from seen 1");
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_plugin_waits_for_one_that_supports_the_schema() {
    let mut pipeline = keeping().await;
    submit(&pipeline, &["ok"]).await;
    pipeline.wait_for("out", 1).await;
    drop_moved(&pipeline);
    swapped(&pipeline, 1.0).await;
    assert_ne!(answer(&pipeline, "what ok").await, "nothing");

    fs::remove_file(pipeline.plugin_file("moved")).unwrap();
    let unfit = ["formline_plugin_swaps_total", "unfit"];
    eventually(SOON, async || pipeline.metric(&unfit).await == 1.0).await;
    assert_ne!(
        answer(&pipeline, "what ok").await,
        "nothing",
        "the newer plug-in runs on"
    );
    pipeline.stop().await;

    pipeline.spawn();
    submit(&pipeline, &["what ok"]).await;
    eventually(SOON, async || {
        pipeline
            .health()
            .await
            .contains("has version 2, and the plug-in declares 1")
    })
    .await;
    drop_moved(&pipeline);
    let records = pipeline.wait_for("out", 4).await;
    assert_eq!(text(&records[3]), "seen, moved from seen 1");
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_migrate_an_entry_is_rolled_back() {
    let mut pipeline = keeping().await;
    // This is more than one slice, and the failing entry comes last.
    let values: Vec<String> = (0..1_200).map(|n| format!("ok {n}")).collect();
    pipeline.submit_all("in", "key", &values).await;
    submit(&pipeline, &["stuck"]).await;
    pipeline.wait_for("out", values.len() + 1).await;
    pipeline.wait_until_passed().await;
    drop_moved(&pipeline);
    swapped(&pipeline, 1.0).await;
    submit(&pipeline, &["ok afterwards"]).await;
    let returned = ["formline_plugin_swaps_total", "returned"];
    eventually(SOON, async || pipeline.metric(&returned).await == 1.0).await;
    pipeline.wait_for("out", values.len() + 2).await;
    assert!(pipeline.dead_letters("misbehave").is_empty());
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_offsets_do_not_apply_events_twice() {
    let mut pipeline = keeping().await;
    submit(&pipeline, &["ok 1", "ok 2", "ok 3"]).await;
    pipeline.wait_for("out", 3).await;
    pipeline.wait_until_passed().await;
    pipeline.stop().await;
    pipeline.reset_offsets("misbehave").await;
    pipeline.start().await;
    submit(&pipeline, &["ok 4"]).await;
    pipeline.wait_until_passed().await;
    assert_eq!(
        texts(&pipeline.records("out")),
        ["ok 1", "ok 2", "ok 3", "ok 4"]
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_can_expire() {
    let mut pipeline = Pipeline::new(&["moved"]).await;
    pipeline.form("in", 1).await;
    pipeline
        .step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    pipeline.start().await;
    let now = jiff::Timestamp::now().as_millisecond() - 10_000;
    for (after_ms, value) in [(0, "briefly a"), (999, "what a"), (1_000, "what a")] {
        pipeline.submit_at("in", "key", value, now + after_ms).await;
    }
    let records = pipeline.wait_for("out", 3).await;
    let answers: Vec<_> = records.iter().map(text).collect();
    assert_eq!(answers, ["briefly a", "seen briefly", "nothing"]);
    let kept = pipeline.changelog("misbehave");
    let end = kept[0].text_header("formline-expires").unwrap();
    assert_eq!(end, (now + 1_000).to_string());
    pipeline.stop().await;

    // Restored entries have the same expiry.
    fs::remove_dir_all(pipeline.state("test")).unwrap();
    pipeline.start().await;
    assert_eq!(answer(&pipeline, "what a").await, "nothing");
    pipeline.stop().await;
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
