//! Sinks crash, restart, and share a tab.

use formline_testing::eventually;

use crate::pipeline::{DEADLINE, Pipeline, any_cells, now};

#[tokio::test]
async fn rows_are_written_once_although_the_sink_is_killed_repeatedly() {
    let pipeline = Pipeline::new().await;
    let mut ids = Vec::new();
    for life in 0..5 {
        let running = pipeline.start();
        for _ in 0..10 {
            ids.push(pipeline.submit(now(), any_cells()).await);
        }
        // Some rows of this process are written, others are not.
        let before = life * 10;
        eventually(DEADLINE, async || pipeline.ids().await.len() > before).await;
        running.kill();
    }
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_that_was_stopped_can_continue() {
    let pipeline = Pipeline::new().await;
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    let running = pipeline.start();
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn two_processes_that_share_a_tab_write_each_row_once() {
    let pipeline = Pipeline::new().await;
    // One partition each.
    let (one, two) = (
        pipeline.start_as("one", pipeline.definition()),
        pipeline.start_as("two", pipeline.definition()),
    );
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    eventually(DEADLINE, async || pipeline.ids().await.len() >= ids.len()).await;
    two.stop().await;
    for _ in 0..10 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    eventually(DEADLINE, async || pipeline.ids().await.len() >= ids.len()).await;
    let mut found = pipeline.ids().await;
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    one.stop().await;
}

#[tokio::test]
async fn the_older_of_two_processes_with_one_name_stops_with_the_reason() {
    let pipeline = Pipeline::new().await;
    let older = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    let newer = pipeline.start();
    older.expect_stopped("give each process its own").await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&ids).await;
    older.stop().await;
    newer.stop().await;
}
