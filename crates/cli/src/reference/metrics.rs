//! Renders the registered metrics as `docs/reference/metrics.md`.

use formline_core::telemetry::MetricDescription;

use super::markdown::{code, table};

const HEADER: &str = "\
<!-- Generated from the program. Do not edit; regenerate with:
     FORMLINE_WRITE_REFERENCE=1 cargo test -p formline-cli reference -->

# Metrics reference

Every process serves its metrics in the Prometheus text format at `/metrics` of its admin listener. A
process has the metrics of the components that it runs. Durations are in seconds and sizes in bytes. A
histogram `NAME` consists of the series `NAME_bucket`, `NAME_sum` and `NAME_count`.

";

/// The whole reference, in the order of the descriptions.
fn render(metrics: &[MetricDescription]) -> String {
    let rows: Vec<_> = metrics.iter().map(row).collect();
    let header = ["Metric", "Type", "Labels", "Meaning"];
    let table = table(header, &rows);
    format!("{HEADER}{}\n", table.trim_end())
}

fn row(metric: &MetricDescription) -> [String; 4] {
    let labels: Vec<_> = metric.labels.iter().map(|label| code(label)).collect();
    // A pipe would end the cell.
    let help = metric.help.replace('|', "\\|");
    [
        code(&metric.name),
        metric.kind.to_string(),
        labels.join(", "),
        help,
    ]
}

mod tests {
    use formline_core::{Telemetry, telemetry::MetricKind};

    use super::*;
    use crate::reference::file::assert_current;

    #[test]
    fn the_metrics_reference_is_current() {
        let telemetry = Telemetry::new();
        formline_ingest::register_metrics(&telemetry);
        formline_processors::register_metrics(&telemetry);
        formline_sinks::register_metrics(&telemetry);
        assert_current("metrics.md", &render(&telemetry.metrics()));
    }

    #[test]
    fn a_metric_is_a_row() {
        let metric = |name: &str, kind, labels: &[&str]| MetricDescription {
            name: name.to_owned(),
            kind,
            help: "Counts a | b.".to_owned(),
            labels: labels.iter().map(ToString::to_string).collect(),
        };
        let metrics = [
            metric("formline_part_ready", MetricKind::Gauge, &[]),
            metric(
                "formline_step_events_total",
                MetricKind::Counter,
                &["app", "step"],
            ),
        ];
        let expected = "\
| Metric | Type | Labels | Meaning |
|---|---|---|---|
| `formline_part_ready` | gauge |  | Counts a \\| b. |
| `formline_step_events_total` | counter | `app`, `step` | Counts a \\| b. |
";
        assert_eq!(render(&metrics), format!("{HEADER}{expected}"));
    }
}
