//! Redis for tests, from the package of Debian: one server that a test may kill and empty, or three
//! servers under three Sentinels.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::names::free_port;
use crate::process::Process;
use crate::tools;

/// A server on the loopback interface, with its data in a temporary folder.
#[derive(Debug)]
pub struct Redis {
    folder: Arc<TempDir>,
    port: u16,
    process: Process,
    /// Number of replicas that it needs to accept a write.
    replicas: u8,
}

/// Three servers and three Sentinels with a quorum of two.
#[derive(Debug)]
pub struct RedisSet {
    servers: Vec<Redis>,
    sentinels: Vec<(u16, Process)>,
}

/// Maximum duration of a fail-over. It takes seconds, but a Sentinel that a busy machine has
/// delayed by two seconds enters TILT mode for thirty.
const FAIL_OVER: Duration = Duration::from_secs(90);

// === impl Redis ===

impl Redis {
    /// A new, empty server.
    ///
    /// # Panics
    /// If it does not start within a minute.
    pub async fn start_own() -> Self {
        Self::start(0, None).await
    }

    /// `redis://…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL. With `appendfsync everysec` the writes of the last two seconds may be lost.
    pub fn kill(&mut self) {
        self.process.kill9();
    }

    /// Starts the server with the same port and data. If it runs, it is stopped first with SIGTERM,
    /// and loses nothing.
    ///
    /// # Panics
    /// If it does not stop or start within a minute.
    pub async fn restart(&mut self) {
        self.process.terminate().await;
        self.start_again(None).await;
    }

    /// As [`Self::restart`], without the data.
    ///
    /// # Panics
    /// If it does not start within a minute.
    pub async fn restart_empty(&mut self) {
        self.kill();
        let data = self.folder.path().join("appendonlydir");
        fs::remove_dir_all(data).expect("the server has created its data");
        self.restart().await;
    }

    /// The reply to a command.
    ///
    /// # Panics
    /// If the server does not reply within a second.
    #[must_use]
    pub fn ask(&self, command: &[&str]) -> String {
        ask(self.port, command).unwrap_or_else(|| panic!("no reply to {command:?}"))
    }

    async fn start(replicas: u8, master: Option<u16>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let port = free_port();
        let process = spawn(&folder, port, replicas, master).await;
        Self {
            folder,
            port,
            process,
            replicas,
        }
    }

    async fn start_again(&mut self, master: Option<u16>) {
        self.kill();
        self.process = spawn(&self.folder, self.port, self.replicas, master).await;
    }
}

// === impl RedisSet ===

impl RedisSet {
    /// The name of the master in the configuration of the Sentinels.
    pub const MASTER: &'static str = "formline";

    /// A new set, once its Sentinels know each other and all servers. Takes about 40 MB.
    ///
    /// # Panics
    /// If it is not ready within 90 seconds.
    pub async fn start() -> Self {
        let master = Redis::start(1, None).await;
        let port = master.port;
        let mut servers = vec![master];
        let mut sentinels = Vec::new();
        for _ in 0..2 {
            servers.push(Redis::start(1, Some(port)).await);
        }
        for _ in 0..3 {
            sentinels.push(spawn_sentinel(port).await);
        }
        let set = Self { servers, sentinels };
        eventually(FAIL_OVER, async || set.is_complete()).await;
        set
    }

    /// `HOST:PORT` of each Sentinel.
    #[must_use]
    pub fn sentinels(&self) -> Vec<(String, u16)> {
        let ports = self.sentinels.iter().map(|(port, _)| *port);
        ports.map(|port| ("127.0.0.1".to_owned(), port)).collect()
    }

    /// The current master according to the Sentinels.
    ///
    /// # Panics
    /// If no Sentinel replies.
    pub fn master(&mut self) -> &mut Redis {
        let port = self.master_port();
        let mut servers = self.servers.iter_mut();
        let master = servers.find(|server| Some(server.port) == port);
        master.expect("a Sentinel names one of the servers")
    }

    /// SIGKILL for the master.
    pub fn kill_master(&mut self) {
        self.master().kill();
    }

    /// SIGSTOP for the master: it hangs, with its connections open. Returns its port for
    /// [`Self::resume`].
    pub fn pause_master(&mut self) -> u16 {
        let master = self.master();
        master.process.signal(Signal::SIGSTOP);
        master.port
    }

    /// Resumes a paused server.
    pub fn resume(&mut self, port: u16) {
        let servers = self.servers.iter_mut();
        for server in servers.filter(|server| server.port == port) {
            server.process.signal(Signal::SIGCONT);
        }
    }

    /// SIGKILL for one of the three Sentinels.
    pub fn kill_sentinel(&mut self, index: usize) {
        self.sentinels[index].1.kill9();
    }

    /// Starts a fail-over as for maintenance: the old master becomes a replica and closes no
    /// connection.
    pub async fn order_fail_over(&self) {
        let order = ["sentinel", "failover", Self::MASTER];
        // Rejected while another fail-over ends, or while no replica is suitable.
        let is_ordered = || self.ask_sentinel(&order).is_some_and(|reply| reply == "OK");
        eventually(FAIL_OVER, async || is_ordered()).await;
    }

    /// Waits until the Sentinels name a master with another port, and it accepts writes.
    pub async fn wait_for_other_master(&self, than: u16) {
        eventually(FAIL_OVER, async || {
            let port = self.master_port().filter(|port| *port != than);
            let written = port.and_then(|port| ask(port, &["set", "written", "1"]));
            written.is_some_and(|reply| reply == "OK")
        })
        .await;
    }

    /// The port of the master.
    ///
    /// # Panics
    /// If no Sentinel replies.
    pub fn port(&mut self) -> u16 {
        self.master().port
    }

    /// Starts every killed server as a replica of the master.
    ///
    /// # Panics
    /// If one does not start within a minute.
    pub async fn restart_dead(&mut self) {
        let master = self.master_port();
        for server in &mut self.servers {
            if server.process.ended().is_some() {
                server.start_again(master).await;
            }
        }
    }

    fn master_port(&self) -> Option<u16> {
        let order = ["sentinel", "get-master-addr-by-name", Self::MASTER];
        self.ask_sentinel(&order)?.lines().nth(1)?.parse().ok()
    }

    /// The reply of the first Sentinel that replies.
    fn ask_sentinel(&self, command: &[&str]) -> Option<String> {
        let mut ports = self.sentinels.iter().map(|(port, _)| *port);
        ports.find_map(|port| ask(port, command))
    }

    fn is_complete(&self) -> bool {
        self.sentinels.iter().all(|(port, _)| {
            let master = ask(*port, &["info", "sentinel"]).unwrap_or_default();
            master.contains("slaves=2,sentinels=3")
        }) && self.servers[0]
            .ask(&["info", "replication"])
            .contains("connected_slaves:2")
    }
}

async fn spawn(folder: &Arc<TempDir>, port: u16, replicas: u8, master: Option<u16>) -> Process {
    let mut server = Command::new(program("redis-server"));
    server.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    server.arg("--dir").arg(folder.path());
    // Durable as in production; the sync delay would only make a fail-over slower.
    server.args([
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--save",
        "",
    ]);
    server.args(["--min-replicas-to-write", &replicas.to_string()]);
    server.args(["--repl-diskless-sync-delay", "0"]);
    if let Some(master) = master {
        server.args(["--replicaof", &format!("127.0.0.1 {master}")]);
    }
    let mut process = Process::spawn_in(&mut server, Arc::clone(folder));
    let is_ready = async || ask(port, &["ping"]).is_some_and(|reply| reply == "PONG");
    process.wait_until(is_ready).await;
    process
}

async fn spawn_sentinel(master: u16) -> (u16, Process) {
    let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
    let (port, name) = (free_port(), RedisSet::MASTER);
    let file = folder.path().join("sentinel.conf");
    let settings = format!(
        "bind 127.0.0.1\nport {port}\ndir {}\nsentinel monitor {name} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000\n",
        folder.path().display()
    );
    // The Sentinel also writes its state to this file.
    fs::write(&file, settings).expect("the folder is ours");
    let mut sentinel = Command::new(program("redis-server"));
    sentinel.arg(file).arg("--sentinel");
    let mut process = Process::spawn_in(&mut sentinel, folder);
    let is_ready = async || ask(port, &["ping"]).is_some_and(|reply| reply == "PONG");
    process.wait_until(is_ready).await;
    (port, process)
}

/// The reply to a command. None without a reply within a second.
fn ask(port: u16, command: &[&str]) -> Option<String> {
    let mut cli = Command::new("timeout");
    cli.arg("1").arg(program("redis-cli"));
    cli.args(["-p", &port.to_string()]).args(command);
    let output = cli.stderr(Stdio::null()).output();
    let output = output.expect("coreutils provide timeout");
    let reply = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(reply)
}

/// A program in the folder that `FORMLINE_TEST_REDIS` names or `deploy/setup/redis` finds.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let find = || tools::find("FORMLINE_TEST_REDIS", "redis", &[]);
    FOLDER.get_or_init(find).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_restarts_with_or_without_its_data() {
        let mut redis = Redis::start_own().await;
        assert_eq!(redis.ask(&["set", "key", "value"]), "OK");
        redis.restart().await;
        assert_eq!(redis.ask(&["get", "key"]), "value");
        redis.restart_empty().await;
        assert_eq!(redis.ask(&["get", "key"]), "");
    }

    #[tokio::test]
    async fn a_set_fails_over_when_its_master_dies_or_hangs_or_on_request() {
        let mut set = RedisSet::start().await;
        assert_eq!(set.master().ask(&["set", "key", "value"]), "OK");
        let first = set.port();
        set.kill_master();
        set.wait_for_other_master(first).await;
        set.restart_dead().await;
        let second = set.port();
        set.order_fail_over().await;
        set.wait_for_other_master(second).await;
        let third = set.pause_master();
        set.wait_for_other_master(third).await;
        set.resume(third);
        assert_eq!(set.master().ask(&["get", "key"]), "value");
    }
}
