//! Logs, metrics and health checks: what an operator can observe of the process.

mod admin;
mod health;
mod logs;
mod metrics;
mod registry;

pub use self::{
    health::HealthCheck,
    logs::{LogFormat, log_to_stderr},
    metrics::{LATENCY_BUCKETS, MetricDescription, MetricKind, counters, gauges, histograms},
    registry::Telemetry,
};
