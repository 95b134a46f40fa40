//! What Prometheus is told of the connection to Redis.

use formline_core::Telemetry;
use prometheus::{IntCounter, IntGauge};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    connected: IntGauge,
    connections: IntCounter,
}

const LEGAL: &str = "the name is a legal metric name";

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let connected = IntGauge::new(
            "formline_redis_connected",
            "1 while there is a connection to the master of Redis.",
        );
        let connections = IntCounter::new(
            "formline_redis_connections_total",
            "Connections to a master of Redis, each after the end of the last.",
        );
        let metrics = Self {
            connected: connected.expect(LEGAL),
            connections: connections.expect(LEGAL),
        };
        telemetry.register(metrics.connected.clone());
        telemetry.register(metrics.connections.clone());
        metrics
    }

    pub(super) fn connected(&self) {
        self.connected.set(1);
        self.connections.inc();
    }

    pub(super) fn disconnected(&self) {
        self.connected.set(0);
    }
}
