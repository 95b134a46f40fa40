//! What an operator sees.

use formline_testing::eventually;

use crate::{
    pipeline::{DEADLINE, Pipeline, any_cells, now},
    running::Running,
};

async fn expect_metric(running: &Running, name: &str, value: f64) {
    eventually(DEADLINE, async || {
        let found = running.metric(name).await;
        if found == value {
            Ok(())
        } else {
            Err(format!("{name} is {found}"))
        }
    })
    .await;
}

#[tokio::test]
async fn metrics_count_rows_dead_letters_and_calls() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    pipeline.submit_raw(now(), Some(b"no row")).await;
    let ids = [
        pipeline.submit(now(), any_cells()).await,
        pipeline.submit(now(), any_cells()).await,
    ];
    pipeline.expect(&ids).await;
    let app = &pipeline.app;
    let records = |outcome: &str| {
        format!(r#"formline_sink_records_total{{outcome="{outcome}",sink="{app}.sheet"}}"#)
    };
    let of_sink = |name: &str| format!(r#"{name}{{sink="{app}.sheet"}}"#);
    let latency =
        format!(r#"formline_end_to_end_latency_seconds_count{{app="{app}",stage="sheet"}}"#);
    let dead_letters = r#"formline_dead_letters_total{reason="malformed",stage="sheet"}"#;
    let expected = [
        (records("written"), 2.0),
        (records("dead-letter"), 1.0),
        (of_sink("formline_sink_batch_size_sum"), 2.0),
        (of_sink("formline_sink_buffered_records"), 0.0),
        (dead_letters.to_owned(), 1.0),
        (latency, 2.0),
    ];
    for (name, value) in expected {
        expect_metric(&running, &name, value).await;
    }
    let done = r#"formline_sheets_requests_total{outcome="done"}"#;
    assert!(running.metric(done).await >= 3.0);
    let cells = of_sink("formline_sheets_cells_used_ratio");
    assert!(running.metric(&cells).await > 0.0);
    running.stop().await;
}
