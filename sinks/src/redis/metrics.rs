//! The Prometheus metrics of the connection to Redis.

use formline_core::Telemetry;
use prometheus::{IntCounter, IntGauge};

/// The metrics of one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct RedisMetrics {
    connected: IntGauge,
    connections: IntCounter,
}

const LEGAL: &str = "the name is a legal metric name";

// === impl RedisMetrics ===

impl RedisMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let connected = IntGauge::new(
            "formline_redis_connected",
            "1 while connected to the Redis master, else 0.",
        );
        let connections = IntCounter::new(
            "formline_redis_connections_total",
            "Connections to a Redis master since the start.",
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
