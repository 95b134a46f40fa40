//! A child process that does not outlive the bench, with its output in a file.

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

/// A running program. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
}

/// A start takes seconds, with plug-ins to compile and topics to create.
const START: Duration = Duration::from_secs(60);
/// Longer than the grace period of `formline`.
const STOP: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// What of a log is shown when a child fails.
const LOG_LINES: usize = 15;

// === impl Child ===

impl Child {
    /// Starts it with `folder` as its working directory, so that no settings of the user's directory apply, and its
    /// output in a file there.
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
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name, process, log })
    }

    /// What it is called in reports.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fails with the end of its log if it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended ({status}), and said last:\n{}",
                self.name,
                self.last_words()
            ),
        }
    }

    /// Waits until `GET /readyz` at this address answers 200.
    pub(crate) async fn ready(&mut self, address: SocketAddr) -> Result<()> {
        self.until(async || is_ready(address).await).await
    }

    /// Waits until `ready` says yes.
    pub(crate) async fn until(&mut self, mut ready: impl AsyncFnMut() -> bool) -> Result<()> {
        let end = Instant::now() + START;
        while !ready().await {
            self.alive()?;
            ensure!(
                Instant::now() < end,
                "{} is not ready after {START:?}:\n{}",
                self.name,
                self.last_words()
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has. Fails if it ends with a failure or has to be killed.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.alive()?;
        kill(Pid::from_raw(self.id().cast_signed()), Signal::SIGTERM)?;
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            if let Some(status) = self.process.try_wait()? {
                let (name, words) = (self.name, self.last_words());
                ensure!(
                    status.success(),
                    "{name} failed when it was stopped ({status}):\n{words}"
                );
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!(
            "{} had to be killed, it did not stop within {STOP:?}:\n{}",
            self.name,
            self.last_words()
        )
    }

    fn last_words(&self) -> String {
        last_words(&self.log)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The end of a log; empty if there is none.
pub(crate) fn last_words(log: &Path) -> String {
    let log = fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// So many loopback addresses that nothing listens on. No outgoing connection takes one of them before the child does:
/// for those Linux prefers even ports, and for listeners odd ones.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    // Held together, so that they differ.
    let held: Vec<_> = (0..N)
        .map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(held) {
        *address = listener?.local_addr()?;
    }
    Ok(addresses)
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else {
        return false;
    };
    let answer = connection
        .exchange(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await;
    answer.is_ok_and(|answer| answer.status == 200)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str) -> (Child, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let child = Child::start(
            "shell",
            Command::new("sh").args(["-c", script]),
            folder.path(),
        );
        (child.expect("sh is there"), folder)
    }

    #[tokio::test]
    async fn it_is_asked_to_end_and_how_it_ends_counts() {
        for code in [0, 7] {
            let (mut child, folder) = shell(&format!(
                "trap 'exit {code}' TERM; touch up; while :; do sleep 0.1; done"
            ));
            child
                .until(async || folder.path().join("up").exists())
                .await
                .expect("it starts");
            child.alive().expect("it runs");
            match child.stop().await {
                Ok(()) => assert_eq!(code, 0),
                Err(error) => assert!(error.to_string().contains("exit status: 7"), "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn its_last_words_say_why_it_ended() {
        let (mut child, _folder) = shell("seq 100; echo no such app >&2; exit 64");
        let error = child
            .until(async || false)
            .await
            .expect_err("it has ended")
            .to_string();
        assert!(
            error.contains("exit status: 64") && error.ends_with("100\nno such app"),
            "{error}"
        );
        assert!(!error.contains("\n5\n"), "only the end of the log: {error}");
    }

    #[test]
    fn dropped_it_is_gone() {
        let (child, _folder) = shell("sleep 60");
        let id = Pid::from_raw(child.id().cast_signed());
        drop(child);
        assert!(kill(id, None).is_err());
    }

    #[test]
    fn a_killed_child_is_told_from_one_that_ended() {
        let (mut child, _folder) = shell("sleep 60");
        child.process.kill().expect("ours");
        assert_eq!(child.process.wait().expect("ours").signal(), Some(9));
        assert!(
            child
                .alive()
                .expect_err("it is gone")
                .to_string()
                .contains("signal: 9")
        );
    }

    #[test]
    fn free_addresses_differ() {
        let [one, other] = free_addresses().expect("ports");
        assert_ne!(one, other);
    }
}
