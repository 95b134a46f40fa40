//! A running sink.

use std::time::Duration;

use formline_core::{Shutdown, Telemetry, shutdown::ShutdownOutcome};
use formline_sinks::{Options, Placed};
use formline_testing::eventually;
use tokio::{net::TcpListener, runtime::Runtime};

/// Longer than anything that a healthy sink on a busy machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A sink in its own runtime, so that it can be killed at any time.
pub(crate) struct Running {
    pub(crate) telemetry: Telemetry,
    pub(crate) admin: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) runtime: Option<Runtime>,
}

impl Running {
    pub(crate) fn start(options: Options, sinks: Vec<Placed>) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let (telemetry, shutdown) = (options.telemetry.clone(), Shutdown::new());
        runtime.spawn(formline_sinks::run(options, sinks, shutdown.clone()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap());
        let served = telemetry.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            served.serve(listener).await
        });
        Self {
            telemetry,
            admin,
            shutdown,
            runtime: Some(runtime),
        }
    }

    /// The value of a metric, or 0 if it does not exist.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.admin("metrics").await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    async fn admin(&self, path: &str) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = http
            .get(format!("{}/{path}", self.admin))
            .send()
            .await
            .unwrap();
        response.text().await.unwrap()
    }

    /// Waits until the sink has stopped, or waits, for a reason that contains this text.
    pub(crate) async fn expect_stopped(&self, reason: &str) {
        eventually(DEADLINE, async || {
            let health = self.admin("readyz").await;
            if health.contains(reason) {
                Ok(())
            } else {
                Err(health)
            }
        })
        .await;
    }

    /// Waits until the sink is ready.
    pub(crate) async fn expect_ready(&self) {
        eventually(DEADLINE, async || {
            let health = self.admin("readyz").await;
            let is_ready = health.ends_with(": ready\n");
            is_ready.then_some(()).ok_or(health)
        })
        .await;
    }

    /// Stops it as a crash does: nothing is finished.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        assert_eq!(
            self.shutdown.finish(DEADLINE).await,
            ShutdownOutcome::Completed
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
