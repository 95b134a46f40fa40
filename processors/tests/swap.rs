//! A plug-in is a file: a new one is used without a restart, and a bad one changes nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

mod pipeline;

use std::{collections::BTreeSet, fs, io::Write as _};

use formline_core::{Record, app::Plugins as _, event::header};
use formline_processors::{Catalog, Error};
use formline_testing::eventually;
use serde_json::json;

use self::pipeline::{
    Pipeline, SOON, another, built, exporting, labels, of_contract, padded, student,
};

async fn enriching() -> Pipeline {
    let mut pipeline = Pipeline::new(&["enrich"]).await;
    pipeline.form("students", 2).await;
    pipeline
        .step(
            "enrich",
            ("submissions", "students"),
            &[("enriched", "enriched")],
            labels(),
        )
        .await;
    pipeline
}

fn digest(record: &Record) -> String {
    record
        .text_header(header::PLUGIN)
        .unwrap()
        .split_once("sha256:")
        .unwrap()
        .1
        .to_owned()
}

fn digests(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(digest).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_used_between_batches_and_nothing_is_lost_or_duplicated() {
    const VERSIONS: u8 = 5;
    let mut pipeline = enriching().await;
    pipeline.start().await;
    pipeline.submit("students", "0", &student(0)).await;
    pipeline.wait_for("enriched", 1).await;
    let mut sent = 1;
    for version in 1..=VERSIONS {
        pipeline.drop_file("enrich", &another("enrich", version));
        let keep_submitting = async {
            while digests(&pipeline.records("enriched")).len() <= usize::from(version) {
                let key = sent.to_string();
                pipeline.submit("students", &key, &student(sent)).await;
                sent += 1;
            }
        };
        tokio::time::timeout(SOON, keep_submitting)
            .await
            .expect("the new file is used in time");
    }
    let records = pipeline.wait_for("enriched", sent).await;
    pipeline.wait_until_passed().await;
    assert_eq!(pipeline.records("enriched").len(), sent);
    assert_eq!(digests(&records).len(), usize::from(VERSIONS) + 1);
    assert_eq!(
        pipeline.metric(&["formline_plugin_info", "enrich"]).await,
        1.0
    );
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing() {
    let mut pipeline = enriching().await;
    pipeline.start().await;
    pipeline.submit("students", "1", &student(1)).await;
    let before = digests(&pipeline.wait_for("enriched", 1).await);

    for (count, (content, _)) in (1..).zip(bad_files()) {
        pipeline.drop_file("enrich", &content);
        eventually(SOON, async || {
            pipeline
                .metric(&["formline_plugin_swaps_total", "bad-file"])
                .await
                == f64::from(count)
        })
        .await;
    }
    pipeline.submit("students", "2", &student(2)).await;
    assert_eq!(digests(&pipeline.wait_for("enriched", 2).await), before);
    // A good file of another plug-in: no file is left that contains enrich.
    pipeline.drop_file("enrich", &fs::read(built("rows")).unwrap());
    eventually(SOON, async || {
        pipeline
            .metric(&["formline_plugin_swaps_total", "gone"])
            .await
            == 1.0
    })
    .await;
    pipeline.submit("students", "3", &student(3)).await;
    assert_eq!(digests(&pipeline.wait_for("enriched", 3).await), before);
    pipeline.stop().await;
}

/// Files that are not plug-ins, each with a part of the expected problem.
fn bad_files() -> Vec<(Vec<u8>, &'static str)> {
    let good = fs::read(built("enrich")).unwrap();
    vec![
        (b"not wasm".to_vec(), "magic"),
        (Vec::new(), "end"),
        (good[..good.len() / 2].to_vec(), "out of bounds"),
        // WebAssembly, but a core module.
        (b"\0asm\x01\0\0\0".to_vec(), "component"),
        // An empty component.
        (b"\0asm\x0d\0\x01\0".to_vec(), "formline:plugin/plugin"),
        (of_contract("enrich", "9.9.9"), "formline:plugin@9.9.9"),
        (exporting("enrich", "9.9.9"), "rebuild it with the SDK"),
        // A good plug-in that is only too large.
        (padded("enrich", &vec![0; 40 << 20]), "are allowed"),
        (not_text("enrich"), "utf-8"),
    ]
}

/// A plug-in whose description is not UTF-8.
fn not_text(name: &str) -> Vec<u8> {
    let summary = b"Adds fields";
    let mut wasm = fs::read(built(name)).unwrap();
    let at = wasm
        .windows(summary.len())
        .position(|bytes| bytes == summary);
    wasm[at.unwrap()] = 0xff;
    wasm
}

#[test]
fn a_bad_file_is_listed_with_its_problem_and_not_compiled_if_it_is_too_large() {
    for (content, word) in bad_files() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("enrich.wasm"), content).unwrap();
        let cache = cache.path().join("cache");
        let catalog = Catalog::open(folder.path(), &cache).unwrap();
        let listed = catalog.list();
        let problem = listed[0].problem.as_deref().unwrap();
        assert!(problem.contains(word), "{word}: {problem}");
        assert!(catalog.names().is_empty());
        if word == "are allowed" {
            assert_eq!(
                fs::read_dir(&cache).unwrap().count(),
                0,
                "nothing was compiled"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partially_written_file_changes_nothing_until_it_is_complete() {
    let mut pipeline = enriching().await;
    pipeline.start().await;
    pipeline.submit("students", "1", &student(1)).await;
    let before = digests(&pipeline.wait_for("enriched", 1).await);

    let (good, path) = (another("enrich", 1), pipeline.plugin_file("enrich"));
    let (half, rest) = good.split_at(good.len() / 2);
    fs::write(&path, half).unwrap();
    let bad = ["formline_plugin_swaps_total", "bad-file"];
    eventually(SOON, async || pipeline.metric(&bad).await == 1.0).await;
    pipeline.submit("students", "2", &student(2)).await;
    assert_eq!(digests(&pipeline.wait_for("enriched", 2).await), before);

    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(rest).unwrap();
    drop(file);
    eventually(SOON, async || {
        pipeline.submit("students", "3", &student(3)).await;
        digests(&pipeline.records("enriched")).len() == 2
    })
    .await;
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_bad_file_uses_its_last_usable_content() {
    let mut pipeline = enriching().await;
    pipeline.start().await;
    pipeline.submit("students", "1", &student(1)).await;
    let before = digests(&pipeline.wait_for("enriched", 1).await);
    pipeline.stop().await;
    pipeline.drop_file("enrich", b"not wasm");
    pipeline.start().await;
    pipeline.submit("students", "2", &student(2)).await;
    assert_eq!(digests(&pipeline.wait_for("enriched", 2).await), before);
    pipeline.stop().await;
}

/// A running step that accepts `ok` events.
async fn doing_well() -> Pipeline {
    let mut pipeline = Pipeline::new(&["misbehave"]).await;
    pipeline.form("in", 1).await;
    pipeline
        .step("misbehave", ("in", "in"), &[("out", "out")], json!({}))
        .await;
    pipeline.start().await;
    pipeline
}

async fn submit(pipeline: &Pipeline, value: &str, count: usize) {
    for _ in 0..count {
        pipeline.submit("in", "key", value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_that_fails_for_recent_events_is_rejected() {
    let mut pipeline = doing_well().await;
    submit(&pipeline, "old", 15).await;
    pipeline.wait_for("out", 15).await;
    pipeline.wait_until_passed().await;
    pipeline.drop_file("worse", &fs::read(built("worse")).unwrap());
    let failed = ["formline_plugin_swaps_total", "failed-trial"];
    eventually(SOON, async || pipeline.metric(&failed).await == 1.0).await;
    submit(&pipeline, "old", 1).await;
    pipeline.wait_for("out", 16).await;
    assert!(pipeline.dead_letters("misbehave").is_empty());
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_that_fails_far_more_often_is_rolled_back() {
    for bad in ["old", "bug"] {
        let mut pipeline = doing_well().await;
        submit(&pipeline, "ok", 15).await;
        pipeline.wait_for("out", 15).await;
        pipeline.wait_until_passed().await;
        pipeline.drop_file("worse", &fs::read(built("worse")).unwrap());
        let swapped = ["formline_plugin_swaps_total", "swapped"];
        eventually(SOON, async || pipeline.metric(&swapped).await == 1.0).await;
        submit(&pipeline, bad, 5).await;
        let returned = ["formline_plugin_swaps_total", "returned"];
        eventually(SOON, async || pipeline.metric(&returned).await == 1.0).await;
        pipeline.wait_until_passed().await;
        let lost = pipeline.dead_letters("misbehave").len();
        submit(&pipeline, bad, 5).await;
        pipeline.wait_for("out", 15 + 5 + 5 - lost).await;
        pipeline.wait_until_passed().await;
        assert_eq!(pipeline.dead_letters("misbehave").len(), lost);
        assert_eq!(
            pipeline.metric(&swapped).await,
            1.0,
            "the bad plug-in is not tried again"
        );
        pipeline.stop().await;
    }
}

#[test]
fn a_catalog_lists_names_versions_and_problems() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["enrich", "rows"] {
        fs::copy(built(name), folder.path().join(format!("{name}.wasm"))).unwrap();
    }
    fs::write(folder.path().join("bad.wasm"), b"bad").unwrap();
    fs::write(folder.path().join("README.md"), b"not a plug-in").unwrap();
    let cache = cache.path().join("cache");
    let catalog = Catalog::open(folder.path(), &cache).unwrap();
    assert_eq!(catalog.names(), ["enrich", "rows"]);
    let listed = catalog.list();
    assert_eq!(listed.len(), 3);
    assert!(listed[0].problem.is_some() && listed[0].name.is_empty());
    let rows = &listed[2];
    assert_eq!(
        (rows.name.as_str(), rows.version.as_str()),
        ("rows", "0.1.0")
    );
    assert!(rows.problem.is_none() && !rows.summary.is_empty());

    let facts = catalog.find("rows").unwrap();
    assert_eq!(
        (facts.inputs.as_slice(), facts.outputs.as_slice()),
        (
            ["submissions".to_owned()].as_slice(),
            ["rows".to_owned()].as_slice()
        )
    );
    for reference in [
        "rows@0.1.0",
        &format!("sha256:{}", rows.digest),
        &format!("sha256:{}", &rows.digest[..12]),
    ] {
        assert_eq!(catalog.find(reference), Some(facts.clone()), "{reference}");
    }
    for reference in ["rows@0.2.0", "row", "sha256:0000", "sha256:", "bad"] {
        assert_eq!(catalog.find(reference), None, "{reference}");
    }
    let missing = Catalog::open(&folder.path().join("missing"), &cache);
    assert!(matches!(missing, Err(Error::Folder { .. })));
}
