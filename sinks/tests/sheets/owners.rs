//! Sinks crash, start again, and share a tab.

use formline_testing::eventually;

use crate::line::{DEADLINE, Line, any, now};

#[tokio::test]
async fn rows_stand_once_although_the_sink_is_killed_again_and_again() {
    let line = Line::new().await;
    let mut ids = Vec::new();
    for life in 0..5 {
        let running = line.start();
        for _ in 0..10 {
            ids.push(line.submit(now(), any()).await);
        }
        // In the middle: some rows of this life are written, others are not.
        let before = life * 10;
        eventually(DEADLINE, async || line.ids().await.len() > before).await;
        running.kill();
    }
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_that_stops_leaves_nothing_open() {
    let line = Line::new().await;
    let mut ids = vec![line.submit(now(), any()).await];
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
    ids.push(line.submit(now(), any()).await);
    let running = line.start();
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn two_processes_that_share_a_tab_write_each_row_once() {
    let line = Line::new().await;
    // A partition each.
    let (one, two) = (
        line.start_as("one", line.definition()),
        line.start_as("two", line.definition()),
    );
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(line.submit(now(), any()).await);
    }
    eventually(DEADLINE, async || line.ids().await.len() >= ids.len()).await;
    two.stop().await;
    for _ in 0..10 {
        ids.push(line.submit(now(), any()).await);
    }
    eventually(DEADLINE, async || line.ids().await.len() >= ids.len()).await;
    let mut found = line.ids().await;
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    one.stop().await;
}

#[tokio::test]
async fn the_older_of_two_processes_with_one_name_stops_and_says_why() {
    let line = Line::new().await;
    let older = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    let newer = line.start();
    older.expect_stopped("give each process its own").await;
    ids.push(line.submit(now(), any()).await);
    line.expect(&ids).await;
    older.stop().await;
    newer.stop().await;
}
