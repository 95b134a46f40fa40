//! Renders the registered metrics as `docs/reference/metrics.md`.

use super::markdown::{code, table};

/// A registered metric.
#[derive(Clone, Debug)]
struct MetricRow {
    name: String,
    /// `counter`, `gauge` or `histogram`.
    kind: String,
    help: String,
    labels: Vec<String>,
}

const HEADER: &str = "\
<!-- Generated from the program. Do not edit; regenerate with:
     FORMLINE_WRITE_REFERENCE=1 cargo test -p formline-cli reference -->

# Metrics reference

Every process serves its metrics in the Prometheus text format at `/metrics` of its admin listener. A
process has the metrics of the components that it runs. Durations are in seconds and sizes in bytes. A
histogram `NAME` consists of the series `NAME_bucket`, `NAME_sum` and `NAME_count`.

";

/// The whole reference, sorted by name.
fn render(mut metrics: Vec<MetricRow>) -> String {
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<_> = metrics.iter().map(row).collect();
    let header = ["Metric", "Type", "Labels", "Meaning"];
    let table = table(header, &rows);
    format!("{HEADER}{}\n", table.trim_end())
}

fn row(metric: &MetricRow) -> [String; 4] {
    let labels: Vec<_> = metric.labels.iter().map(|label| code(label)).collect();
    // A pipe would end the cell.
    let help = metric.help.replace('|', "\\|");
    [
        code(&metric.name),
        metric.kind.clone(),
        labels.join(", "),
        help,
    ]
}

mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_sorted_by_name() {
        let metric = |name: &str, kind: &str, labels: &[&str]| MetricRow {
            name: name.to_owned(),
            kind: kind.to_owned(),
            help: "Counts a | b.".to_owned(),
            labels: labels.iter().map(ToString::to_string).collect(),
        };
        let metrics = vec![
            metric("formline_step_events_total", "counter", &["app", "step"]),
            metric("formline_part_ready", "gauge", &[]),
        ];
        let expected = "\
| Metric | Type | Labels | Meaning |
|---|---|---|---|
| `formline_part_ready` | gauge |  | Counts a \\| b. |
| `formline_step_events_total` | counter | `app`, `step` | Counts a \\| b. |
";
        assert_eq!(render(metrics), format!("{HEADER}{expected}"));
    }
}
