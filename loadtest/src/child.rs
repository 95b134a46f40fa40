//! A child process that is killed with the bench, and whose output goes to a log file.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::generator::Connection;

/// A running program, which is killed on drop.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
}

/// Time to become ready; a start compiles plug-ins and creates topics.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to stop, which is longer than the grace period of `formline`.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a condition is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Number of lines of a log in error messages.
const LOG_LINES: usize = 15;

// === impl Child ===

impl Child {
    /// Starts a program with `folder` as its working directory, so that no settings in the user's
    /// directory apply, and with its log file there.
    pub(crate) fn start(name: &'static str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let process = command
            .spawn()
            .with_context(|| format!("failed to start {name}: {command:?}"))?;
        Ok(Self { name, process, log })
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fails with the end of the log if the process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended unexpectedly ({status}); its log ends with:\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// Waits until `GET /readyz` at this address returns 200.
    pub(crate) async fn wait_ready(&mut self, address: SocketAddr) -> Result<()> {
        self.wait_until(async || is_ready(address).await).await
    }

    /// Waits until `is_ready` returns true.
    pub(crate) async fn wait_until(
        &mut self,
        mut is_ready: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready().await {
            self.check_alive()?;
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after {START_TIMEOUT:?}; its log ends with:\n{}",
                self.name,
                self.log_tail()
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits for the end. Fails if the process fails or does not stop in time.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.check_alive()?;
        kill(Pid::from_raw(self.id().cast_signed()), Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                let (name, tail) = (self.name, self.log_tail());
                ensure!(
                    status.success(),
                    "{name} failed to stop cleanly ({status}); its log ends with:\n{tail}"
                );
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        bail!(
            "{} was killed, because it did not stop within {STOP_TIMEOUT:?}; its log ends with:\n{}",
            self.name,
            self.log_tail()
        )
    }

    fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both only fail if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The last lines of a log; empty if it does not exist.
pub(crate) fn log_tail(log: &Path) -> String {
    let log = fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// N loopback addresses that nothing listens on. An outgoing connection does not take one of them
/// before the child does, because Linux prefers even ports for connections and odd ones for
/// listeners.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    // All are bound at the same time, so that they differ.
    let listeners: Vec<_> = (0..N)
        .map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(listeners) {
        *address = listener?.local_addr()?;
    }
    Ok(addresses)
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else {
        return false;
    };
    let response = connection
        .exchange(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await;
    response.is_ok_and(|response| response.status == 200)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str) -> (Child, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = Child::start(
            "shell",
            Command::new("sh").args(["-c", script]),
            folder.path(),
        );
        (child.expect("sh is installed"), folder)
    }

    #[tokio::test]
    async fn stopping_sends_sigterm_and_reports_a_failure() {
        for code in [0, 7] {
            let (mut child, folder) = shell(&format!(
                "trap 'exit {code}' TERM; touch up; while :; do sleep 0.1; done"
            ));
            child
                .wait_until(async || folder.path().join("up").exists())
                .await
                .expect("the child starts");
            child.check_alive().expect("the child runs");
            match child.stop().await {
                Ok(()) => assert_eq!(code, 0),
                Err(error) => assert!(error.to_string().contains("exit status: 7"), "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_the_log_explains_a_failure() {
        let (mut child, _folder) = shell("seq 100; echo no such app >&2; exit 64");
        let error = child
            .wait_until(async || false)
            .await
            .expect_err("the child has ended")
            .to_string();
        assert!(
            error.contains("exit status: 64") && error.ends_with("100\nno such app"),
            "{error}"
        );
        assert!(
            !error.contains("\n5\n"),
            "more than the end of the log: {error}"
        );
    }

    #[test]
    fn a_dropped_child_is_killed() {
        let (child, _folder) = shell("sleep 60");
        let id = Pid::from_raw(child.id().cast_signed());
        drop(child);
        assert!(kill(id, None).is_err());
    }

    #[test]
    fn a_killed_child_is_reported_with_its_signal() {
        let (mut child, _folder) = shell("sleep 60");
        child.process.kill().expect("the child can be killed");
        assert_eq!(
            child
                .process
                .wait()
                .expect("the child can be waited for")
                .signal(),
            Some(9)
        );
        assert!(
            child
                .check_alive()
                .expect_err("the child has ended")
                .to_string()
                .contains("signal: 9")
        );
    }

    #[test]
    fn free_addresses_differ() {
        let [one, other] = free_addresses().expect("free ports");
        assert_ne!(one, other);
    }
}
