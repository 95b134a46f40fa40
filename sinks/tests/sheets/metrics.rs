//! What an operator sees.

use formline_testing::eventually;

use crate::line::{DEADLINE, Line, any, now};

#[tokio::test]
async fn metrics_count_what_was_done() {
    let line = Line::new().await;
    let running = line.start();
    line.submit_raw(now(), Some(b"no row")).await;
    let ids = [
        line.submit(now(), any()).await,
        line.submit(now(), any()).await,
    ];
    line.expect(&ids).await;
    let sink = format!("{}.sheet", line.app);
    let expected = [
        (
            format!(r#"formline_sink_records_total{{outcome="written",sink="{sink}"}}"#),
            2.0,
        ),
        (
            format!(r#"formline_sink_records_total{{outcome="dead-letter",sink="{sink}"}}"#),
            1.0,
        ),
        (
            format!(r#"formline_sink_batch_size_sum{{sink="{sink}"}}"#),
            2.0,
        ),
        (
            format!(r#"formline_sink_buffered_records{{sink="{sink}"}}"#),
            0.0,
        ),
        (
            r#"formline_dead_letters_total{reason="malformed",stage="sheet"}"#.to_owned(),
            1.0,
        ),
        (
            format!(
                r#"formline_end_to_end_latency_seconds_count{{app="{}",stage="sheet"}}"#,
                line.app
            ),
            2.0,
        ),
    ];
    for (name, value) in expected {
        let look = async || {
            let found = running.metric(&name).await;
            if found == value {
                Ok(())
            } else {
                Err(format!("{name} is {found}"))
            }
        };
        eventually(DEADLINE, look).await;
    }
    assert!(
        running
            .metric(r#"formline_sheets_requests_total{outcome="done"}"#)
            .await
            >= 3.0
    );
    assert!(
        running
            .metric(&format!(
                r#"formline_sheets_cells_used_ratio{{sink="{sink}"}}"#
            ))
            .await
            > 0.0
    );
    running.stop().await;
}
