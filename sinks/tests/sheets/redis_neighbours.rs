//! What else is in a Redis, and who is let in: no sink suffers for another, and each says what it suffers from.

use std::sync::Arc;

use formline_core::{App, app::SinkKind, topic};
use formline_testing::{Kafka, Redis, eventually, unique};

use crate::{
    line::{DEADLINE, Line, any, now},
    redis::{at, expect_each_once, flush_until_written, key, line, submit, waiting},
};

/// An app with another sink, which writes the same rows to a spreadsheet of its own.
fn with_another(line: &Line, spreadsheet: &str) -> App {
    let mut app = line.definition();
    let mut other = Arc::into_inner(line.definition().sinks.remove(0)).unwrap();
    other.name = "other".to_owned();
    if let SinkKind::Sheets(settings) = &mut other.kind {
        settings.spreadsheet = spreadsheet.to_owned();
    }
    app.sinks.push(Arc::new(other));
    app
}

#[tokio::test]
async fn a_sink_whose_rows_cannot_be_read_holds_up_no_other_one() {
    let redis = Redis::start_own().await;
    let mut line = line(&redis).await;
    line.keep_in_redis(at(&redis), false);
    let second = unique("sheet");
    let running = line.start_as("one", with_another(&line, &second));
    let mut ids = Vec::new();
    submit(&line, &mut ids, 3).await;
    let others = format!("{{{}:{second}}}:rows", topic::group(&line.app, "other"));
    eventually(DEADLINE, async || {
        waiting(&redis, &line) == "3" && redis.ask(&["zcard", &others]) == "3"
    })
    .await;
    running.stop().await;
    let state = key(&line, "state");
    let fields = redis.ask(&["hkeys", &state]);
    for field in fields.lines().filter(|field| field.starts_with("next:")) {
        assert_eq!(redis.ask(&["hset", &state, field, "x"]), "0");
    }
    let flushed = line.flush_all(with_another(&line, &second)).await.unwrap();
    let why = flushed[0].trouble.as_ref().unwrap().to_string();
    assert!(why.contains("cannot be read"), "{why}");
    assert!(flushed[1].trouble.is_none(), "{flushed:?}");
    assert_eq!(line.ids_in(&second).await.len(), flushed[1].rows);

    assert!(why.contains(&format!("delete the key {state},")), "{why}");
    assert_eq!(redis.ask(&["del", &state]), "1");
    line.keep_in_redis(at(&redis), true);
    let running = line.start();
    expect_each_once(&line, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn two_installations_share_a_redis_and_the_name_of_an_app() {
    let redis = Redis::start_own().await;
    let kafka = Kafka::start_own().await;
    let mut one = line(&redis).await;
    let mut two = Line::of(&kafka, one.app.clone(), "1048576").await;
    one.keep_in_redis(at(&redis), false);
    two.keep_in_redis(at(&redis), false);
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
async fn keys_of_somebody_else_stop_the_sink() {
    let redis = Redis::start_own().await;
    let line = line(&redis).await;
    assert_eq!(redis.ask(&["set", &key(&line, "rows"), "theirs"]), "OK");
    let running = line.start();
    line.submit(now(), any()).await;
    running.expect_stopped("redis refuses: ").await;
    running.stop().await;
}

#[tokio::test]
async fn a_redis_that_does_not_let_the_sink_in_stands_in_its_health_until_it_does() {
    let redis = Redis::start_own().await;
    let line = line(&redis).await;
    let running = line.start();
    let mut ids = Vec::new();
    submit(&line, &mut ids, 3).await;
    line.expect(&ids).await;
    assert_eq!(redis.ask(&["config", "set", "requirepass", "other"]), "OK");
    let _ = redis.ask(&["-a", "other", "client", "kill", "type", "normal"]);
    submit(&line, &mut ids, 3).await;
    running.expect_stopped("redis does not let us in").await;
    let allow = ["-a", "other", "config", "set", "requirepass", ""];
    assert_eq!(redis.ask(&allow), "OK");
    expect_each_once(&line, &ids).await;
    running.expect_ready().await;
    running.stop().await;
}
