//! Apache Kafka for tests: one that all tests share, or one that a test may stop and kill.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::names::free_port;
use crate::process::Process;
use crate::tools::repository;

/// A single durable node on the loopback interface (`deploy/kafka/kafka`).
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// None if the node was started elsewhere and named by `FORMLINE_TEST_KAFKA`.
    node: Option<Node>,
}

#[derive(Debug)]
struct Node {
    process: Process,
    folder: Arc<TempDir>,
    port: u16,
}

/// Short for [`Kafka::shared`].
pub async fn kafka() -> &'static Kafka {
    Kafka::shared().await
}

// === impl Kafka ===

impl Kafka {
    /// The node that all tests share: the one that `FORMLINE_TEST_KAFKA` (`HOST:PORT`) names, else
    /// one that is started once and lives as long as this process. Names on it come from
    /// [`crate::unique`].
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Kafka> = OnceCell::const_new();
        let start = async || match std::env::var("FORMLINE_TEST_KAFKA") {
            Ok(bootstrap) => Self {
                bootstrap,
                node: None,
            },
            Err(_) => Self::start_own().await,
        };
        SHARED.get_or_init(start).await
    }

    /// A node of its own, for a test that stops or kills it. Takes about 5 s and 300 MB.
    ///
    /// # Panics
    /// With its output, if it does not start within a minute.
    pub async fn start_own() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let port = free_port();
        let node = Node::start(folder, port).await;
        Self {
            bootstrap: format!("127.0.0.1:{port}"),
            node: Some(node),
        }
    }

    /// `HOST:PORT`, for `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Stops the node with SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// If it still runs after a minute.
    pub async fn stop(&mut self) {
        self.node().process.terminate().await;
    }

    /// SIGKILL. After [`Self::restart`] the node still has what it acknowledged.
    pub fn kill(&mut self) {
        self.node().process.kill9();
    }

    /// Starts the node with the same port and data. Stops it first if it runs.
    ///
    /// # Panics
    /// With its output, if it does not start within a minute.
    pub async fn restart(&mut self) {
        self.stop().await;
        let node = self.node();
        *node = Node::start(Arc::clone(&node.folder), node.port).await;
    }

    fn node(&mut self) -> &mut Node {
        self.node
            .as_mut()
            .expect("`shared` returns no `&mut`, so this node was started here")
    }
}

// === impl Node ===

impl Node {
    async fn start(folder: Arc<TempDir>, port: u16) -> Self {
        let script = script();
        let mut run = Command::new(&script);
        run.arg("run").arg(folder.path()).arg(port.to_string());
        let mut process = Process::spawn_in(&mut run, Arc::clone(&folder));
        let mut status = tokio::process::Command::new(&script);
        status
            .arg("status")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process
            .wait_until(async || status.status().await.is_ok_and(|code| code.success()))
            .await;
        Self {
            process,
            folder,
            port,
        }
    }
}

fn script() -> OsString {
    let default = || repository().join("deploy/kafka/kafka").into_os_string();
    std::env::var_os("FORMLINE_KAFKA_SCRIPT").unwrap_or_else(default)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// An `ApiVersions` request, version 0, with correlation id 7 and no client id.
    const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

    /// The correlation id in the response.
    fn ask(kafka: &Kafka) -> Result<[u8; 4], Error> {
        let mut connection = TcpStream::connect(kafka.bootstrap())?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        connection.write_all(&API_VERSIONS)?;
        let mut response = [0; 8];
        connection.read_exact(&mut response)?;
        Ok([response[4], response[5], response[6], response[7]])
    }

    /// The properties of the cluster, which contain its id.
    fn cluster(kafka: &Kafka) -> String {
        let folder = kafka.node.as_ref().expect("started here").folder.path();
        std::fs::read_to_string(folder.join("data/meta.properties")).expect("formatted")
    }

    #[tokio::test]
    async fn a_node_restarts_with_its_port_and_data() {
        let mut kafka = Kafka::start_own().await;
        let (bootstrap, before) = (kafka.bootstrap().to_owned(), cluster(&kafka));
        assert_eq!(ask(&kafka).expect("started"), [0, 0, 0, 7]);

        kafka.kill();
        assert!(ask(&kafka).is_err(), "killed");
        kafka.restart().await;
        assert_eq!(ask(&kafka).expect("restarted"), [0, 0, 0, 7]);

        kafka.stop().await;
        assert!(ask(&kafka).is_err(), "stopped");
        kafka.restart().await;
        assert_eq!(ask(&kafka).expect("restarted again"), [0, 0, 0, 7]);
        assert_eq!(
            (bootstrap.as_str(), before),
            (kafka.bootstrap(), cluster(&kafka))
        );
    }

    #[tokio::test]
    async fn the_shared_node_is_started_once() {
        let (one, other) = tokio::join!(Kafka::shared(), kafka());
        assert!(std::ptr::eq(one, other));
        assert_eq!(ask(one).expect("started"), [0, 0, 0, 7]);
    }
}
