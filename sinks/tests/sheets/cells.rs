//! The content of cells.

use formline_core::event;
use serde_json::{Value, json};

use crate::pipeline::{Pipeline, any_cells, cell, earlier, now};
use formline_testing::eventually;

#[tokio::test]
async fn values_keep_their_types_and_a_formula_stays_text() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let time = now();
    let values = [
        json!("=1+1"),
        json!("00123"),
        json!(42.5),
        json!(true),
        Value::Null,
        json!("ä"),
    ];
    let names = ["formula", "roll", "points", "consent", "nothing", "name"];
    let cells = names
        .iter()
        .zip(&values)
        .map(|(name, value)| cell(name, value.clone()));
    let id = pipeline.submit(time, cells.collect()).await;
    pipeline.expect(std::slice::from_ref(&id)).await;

    let grid = pipeline.grid().await;
    let heading = [
        "Submission",
        "Submitted at",
        "Note",
        "FORMULA",
        "ROLL",
        "POINTS",
        "CONSENT",
        "NOTHING",
        "NAME",
    ];
    assert_eq!(grid[0], heading.map(Value::from));
    let row = [
        json!(id),
        json!(event::format_time(time)),
        json!(""),
        json!("=1+1"),
        json!("00123"),
        json!(42.5),
        json!(true),
        json!(""),
        json!("ä"),
    ];
    assert_eq!(grid[1], row);
    assert_eq!(
        pipeline.tab().await["gridProperties"]["columnCount"],
        9,
        "there is no superfluous column"
    );
    running.stop().await;
}

#[tokio::test]
async fn columns_are_found_by_name_and_new_ones_are_added_on_the_right() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let first = pipeline
        .submit(now(), json!([cell("a", "a1"), cell("b", "b1")]))
        .await;
    pipeline.expect(std::slice::from_ref(&first)).await;
    let second = pipeline
        .submit(now(), json!([cell("c", "c2"), cell("a", "a2")]))
        .await;
    pipeline.expect(&[first, second]).await;
    let rows: Vec<_> = pipeline
        .grid()
        .await
        .iter()
        .map(|row| row[3..].to_vec())
        .collect();
    assert_eq!(
        rows,
        [vec!["A", "B", "C"], vec!["a1", "b1"], vec!["a2", "", "c2"]]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_text_that_is_too_long_for_a_cell_is_cut() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let id = pipeline
        .submit(now(), json!([cell("essay", "long ".repeat(12_000))]))
        .await;
    pipeline.expect(std::slice::from_ref(&id)).await;
    let text = pipeline.sheet().await[0][3].as_str().unwrap().to_owned();
    assert!(
        text.ends_with(&format!("submission {id}]")) && text.len() < 50_000,
        "{}",
        text.len()
    );
    running.stop().await;
}

#[tokio::test]
async fn hostile_content_is_written_as_literal_text_and_affects_no_other_row() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let before = pipeline.submit(earlier(3), any_cells()).await;
    let texts = [
        r#"=IMPORTXML("http://127.0.0.1/", "//a")"#,
        "=HYPERLINK(\"http://127.0.0.1/\";\"x\")",
        "+1+1",
        "-1",
        "@x",
        "\t=1+1",
        "'=1+1",
        "TRUE",
        "1e5",
        "2026-01-02",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "\u{202e}مرحبا abc\u{202c}",
        "<script>alert(1)</script>",
        "a\nb\r\nc",
        "\0before and after\0",
    ];
    let cells = texts
        .iter()
        .enumerate()
        .map(|(n, text)| cell(&format!("c{n}"), *text))
        .collect();
    let hostile = pipeline.submit(earlier(2), cells).await;
    let after = pipeline.submit(earlier(1), any_cells()).await;
    pipeline.expect(&[before, hostile.clone(), after]).await;
    let grid = pipeline.sheet().await;
    // The column `roll` of the row before it comes first.
    let written: Vec<_> = grid[1][4..].to_vec();
    let literal = texts.map(|text| json!(text.replace('\0', "\u{fffd}")));
    assert_eq!(written, literal);
    assert_eq!(grid[0][3], "99999");
    assert_eq!(grid[2][3], "99999");
    assert_eq!(pipeline.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test]
async fn malformed_records_are_dead_lettered_once_and_the_others_are_written() {
    let pipeline = Pipeline::new().await;
    let before = pipeline.submit(earlier(3), any_cells()).await;
    pipeline
        .submit_raw(earlier(2), Some(b"{\"version\":1"))
        .await;
    pipeline.submit_raw(earlier(2), None).await;
    let after = pipeline.submit(earlier(1), any_cells()).await;
    let running = pipeline.start();
    pipeline.expect(&[before, after]).await;
    let letters =
        || async { Some(pipeline.dead_letters().await).filter(|letters| letters.len() == 2) };
    let mut letters = eventually(crate::pipeline::DEADLINE, letters).await;
    letters.sort();
    let malformed = |value: Option<&[u8]>| ("malformed".to_owned(), value.map(<[u8]>::to_vec));
    assert_eq!(
        letters,
        [malformed(None), malformed(Some(b"{\"version\":1"))]
    );

    // Once the checkpoint contains them, a new start does not dead-letter them again.
    pipeline.expect_committed().await;
    running.stop().await;
    let running = pipeline.start();
    let third = pipeline.submit(now(), any_cells()).await;
    let ids = pipeline.ids().await;
    pipeline.expect(&[ids, vec![third]].concat()).await;
    assert_eq!(pipeline.dead_letters().await.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_form_with_too_many_columns_does_not_affect_other_forms() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let wide: Value = (0..400)
        .map(|n| cell(&format!("a column with a long name {n}"), 1))
        .collect();
    pipeline.submit(earlier(2), wide).await;
    let id = pipeline.submit(earlier(1), any_cells()).await;
    pipeline.expect(&[id]).await;
    let reasons = || async {
        let letters = pipeline.dead_letters().await;
        letters
            .first()
            .filter(|(reason, _)| reason == "too-many-columns")
            .map(|_| ())
    };
    eventually(crate::pipeline::DEADLINE, reasons).await;
    running.stop().await;
}
