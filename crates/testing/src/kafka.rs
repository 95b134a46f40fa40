//! Apache Kafka for tests: one for all of them, or one of its own for a test that breaks it.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{Process, free_port, repository};

/// A single durable node on the loopback interface (`deploy/kafka/kafka`).
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// None: somebody else's, found in `FORMLINE_TEST_KAFKA`.
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
    /// The one that all tests use together: `FORMLINE_TEST_KAFKA` (`HOST:PORT`), else one that is
    /// started once and lives as long as this process. Names on it come from [`crate::unique`].
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

    /// A fresh one for a test that stops or kills it; about 5 s and 300 MB.
    ///
    /// # Panics
    /// With its output, when it does not start within a minute.
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

    /// Stops it as an operator would, and waits until it has.
    ///
    /// # Panics
    /// When it still runs after a minute.
    pub async fn stop(&mut self) {
        self.node().process.terminate().await;
    }

    /// SIGKILL. What it acknowledged is still there after [`Self::restart`].
    pub fn kill(&mut self) {
        self.node().process.kill9();
    }

    /// Starts it again with the same port and data, stopping it first if it runs.
    ///
    /// # Panics
    /// With its output, when it does not start within a minute.
    pub async fn restart(&mut self) {
        self.stop().await;
        let node = self.node();
        *node = Node::start(Arc::clone(&node.folder), node.port).await;
    }

    fn node(&mut self) -> &mut Node {
        // `shared` gives no `&mut`, so only an own one gets here.
        self.node.as_mut().expect("own")
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

    /// The correlation id of the answer.
    fn ask(kafka: &Kafka) -> Result<[u8; 4], Error> {
        let mut connection = TcpStream::connect(kafka.bootstrap())?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        connection.write_all(&API_VERSIONS)?;
        let mut answer = [0; 8];
        connection.read_exact(&mut answer)?;
        Ok([answer[4], answer[5], answer[6], answer[7]])
    }

    fn cluster(kafka: &Kafka) -> String {
        let folder = kafka.node.as_ref().expect("own").folder.path();
        std::fs::read_to_string(folder.join("data/meta.properties")).expect("formatted")
    }

    #[tokio::test]
    async fn an_own_one_comes_back_with_its_port_and_data() {
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
    async fn the_shared_one_is_started_once() {
        let (one, other) = tokio::join!(Kafka::shared(), kafka());
        assert!(std::ptr::eq(one, other));
        assert_eq!(ask(one).expect("started"), [0, 0, 0, 7]);
    }
}
