//! `formline flush` as a scheduled job: what waits in Redis goes to its sheet, once.

use formline_testing::Redis;
use serde_json::{Value, json};

use crate::line::{HELLO, Line, text};

const BUFFER: &str = "buffer = \"redis\"\nflush = \"job\"\nhold_back_ms = 1000\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_writes_what_waits_and_says_how_much() {
    let redis = Redis::start_own().await;
    let variables = vec![("FORMLINE_REDIS_URL", redis.url())];
    let line = Line::start(BUFFER, variables, |_, _| {}).await;
    let ids = [line.submit(HELLO).await, line.submit(HELLO).await];
    let under_way = json!({ "under_way": ids });
    line.verify(&[]).expect(0, &[("/sheet", 0, under_way)]);
    // Rows are due once it is known that no earlier one comes.
    let mut written = 0;
    while written < ids.len() as u64 {
        let told = line.ask_flush(&["--sink", "sheet", "--json"]);
        assert_eq!(told.status.code(), Some(0), "{}", text(&told));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(told["sink"], format!("{}/sheet", line.name));
        written += told["rows"].as_u64().unwrap();
    }
    line.verify_at_rest().expect(0, &[("/sheet", 2, json!({}))]);
    let told = line.ask_flush(&["--sink", "sheet"]);
    let nothing = format!("{}/sheet: 0 rows written\n", line.name);
    assert_eq!(String::from_utf8_lossy(&told.stdout), nothing);
    let refused = line.ask_flush(&["--sink", "nope"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("no app has a sink `nope`"),
        "{}",
        text(&refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_nothing_to_do_with_rows_in_a_sink_s_memory() {
    let line = Line::start("", Vec::new(), |_, _| {}).await;
    let refused = line.ask_flush(&["--sink", "sheet"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused);
    assert!(told.contains("keeps no rows in Redis"), "{told}");
}
