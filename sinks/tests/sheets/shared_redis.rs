//! A Redis that is shared or denies access: no sink affects another, and each reports its own
//! problem.

use std::sync::Arc;

use formline_core::{App, app::SinkKind, kafka::topic};
use formline_testing::{Kafka, Redis, eventually, unique};

use crate::{
    pipeline::{DEADLINE, Pipeline, any_cells, now},
    redis::{at, expect_each_once, flush_until_written, key, submit, waiting, with_redis},
};

/// An app with another sink that writes the same rows to a second spreadsheet.
fn with_another(pipeline: &Pipeline, spreadsheet: &str) -> App {
    let mut app = pipeline.definition();
    let mut other = Arc::into_inner(pipeline.definition().sinks.remove(0)).unwrap();
    other.name = "other".to_owned();
    if let SinkKind::Sheets(settings) = &mut other.kind {
        settings.spreadsheet = spreadsheet.to_owned();
    }
    app.sinks.push(Arc::new(other));
    app
}

#[tokio::test]
async fn a_sink_whose_rows_cannot_be_read_delays_no_other_one() {
    let redis = Redis::start_own().await;
    let mut pipeline = with_redis(&redis).await;
    pipeline.buffer_in_redis(at(&redis), false);
    let second = unique("sheet");
    let running = pipeline.start_as("one", with_another(&pipeline, &second));
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 3).await;
    let others = format!("{{{}:{second}}}:rows", topic::group(&pipeline.app, "other"));
    eventually(DEADLINE, async || {
        waiting(&redis, &pipeline) == "3" && redis.ask(&["zcard", &others]) == "3"
    })
    .await;
    running.stop().await;
    let state = key(&pipeline, "state");
    let fields = redis.ask(&["hkeys", &state]);
    for field in fields.lines().filter(|field| field.starts_with("next:")) {
        assert_eq!(redis.ask(&["hset", &state, field, "x"]), "0");
    }
    let flushed = pipeline
        .flush_all(with_another(&pipeline, &second))
        .await
        .unwrap();
    let why = flushed[0].trouble.as_ref().unwrap().to_string();
    assert!(why.contains("cannot be read"), "{why}");
    assert!(flushed[1].trouble.is_none(), "{flushed:?}");
    assert_eq!(pipeline.ids_in(&second).await.len(), flushed[1].rows);

    assert!(why.contains(&format!("delete the key {state} ")), "{why}");
    assert_eq!(redis.ask(&["del", &state]), "1");
    pipeline.buffer_in_redis(at(&redis), true);
    let running = pipeline.start();
    expect_each_once(&pipeline, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn two_installations_can_share_a_redis_and_the_name_of_an_app() {
    let redis = Redis::start_own().await;
    let kafka = Kafka::start_own().await;
    let mut one = with_redis(&redis).await;
    let mut two = Pipeline::of(&kafka, one.app.clone(), "1048576").await;
    one.buffer_in_redis(at(&redis), false);
    two.buffer_in_redis(at(&redis), false);
    let running = [one.start(), two.start()];
    let (mut ids, mut others) = (Vec::new(), Vec::new());
    submit(&one, &mut ids, 10).await;
    submit(&two, &mut others, 7).await;
    eventually(DEADLINE, async || {
        (waiting(&redis, &one), waiting(&redis, &two)) == ("10".to_owned(), "7".to_owned())
    })
    .await;
    flush_until_written(&one, 10).await;
    flush_until_written(&two, 7).await;
    expect_each_once(&one, &ids).await;
    expect_each_once(&two, &others).await;
    for one in running {
        one.stop().await;
    }
}

#[tokio::test]
async fn foreign_keys_stop_the_sink() {
    let redis = Redis::start_own().await;
    let pipeline = with_redis(&redis).await;
    assert_eq!(redis.ask(&["set", &key(&pipeline, "rows"), "theirs"]), "OK");
    let running = pipeline.start();
    pipeline.submit(now(), any_cells()).await;
    running.expect_stopped("redis rejects a script: ").await;
    running.stop().await;
}

#[tokio::test]
async fn denied_access_to_redis_is_reported_in_the_health_until_it_is_granted() {
    let redis = Redis::start_own().await;
    let pipeline = with_redis(&redis).await;
    let running = pipeline.start();
    let mut ids = Vec::new();
    submit(&pipeline, &mut ids, 3).await;
    pipeline.expect(&ids).await;
    assert_eq!(redis.ask(&["config", "set", "requirepass", "other"]), "OK");
    let _ = redis.ask(&["-a", "other", "client", "kill", "type", "normal"]);
    submit(&pipeline, &mut ids, 3).await;
    running.expect_stopped("redis denies access").await;
    let allow = ["-a", "other", "config", "set", "requirepass", ""];
    assert_eq!(redis.ask(&allow), "OK");
    expect_each_once(&pipeline, &ids).await;
    running.expect_ready().await;
    running.stop().await;
}
