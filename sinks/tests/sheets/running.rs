//! A sink at work.

use formline_core::{Shutdown, Telemetry, shutdown::Ending};
use formline_sinks::{Options, Placed};
use formline_testing::eventually;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::line::DEADLINE;

/// A sink in a runtime of its own, so that it can be killed at any point.
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

    /// The value of a metric, 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.admin("metrics").await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    async fn admin(&self, path: &str) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http
            .get(format!("{}/{path}", self.admin))
            .send()
            .await
            .unwrap();
        answer.text().await.unwrap()
    }

    /// Waits until the sink has stopped, with this in its reason.
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

    /// Waits until the sink is at work.
    pub(crate) async fn expect_ready(&self) {
        eventually(DEADLINE, async || {
            let health = self.admin("readyz").await;
            let is_ready = health.ends_with(": ready\n");
            is_ready.then_some(()).ok_or(health)
        })
        .await;
    }

    /// What a crash does: nothing is finished.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        assert_eq!(self.shutdown.finish(DEADLINE).await, Ending::Finished);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
