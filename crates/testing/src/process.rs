//! A child process that cannot outlive its test, with its output in a file.

use std::fs::OpenOptions;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::watchdog::Watchdog;

/// Debug builds on a busy two-core machine; a healthy start takes seconds. Longer for no test's
/// sake, so that a hang is found before the whole run is cut off.
const START: Duration = Duration::from_secs(60);
/// Longer than any grace period of ours.
const STOP: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A running program. Dropped, it is killed; if the test process itself dies, whatever way, the
/// program is killed too.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Until the child has been reaped: from then on its id may be another process.
    watchdog: Option<Watchdog>,
    folder: Arc<TempDir>,
}

// === impl Process ===

impl Process {
    /// Starts the command; what it prints goes to a file ([`Self::log`]).
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::spawn_in(command, Arc::new(folder))
    }

    /// As [`Self::spawn`], with the output in `folder`, and `folder` removed with the last user.
    pub(crate) fn spawn_in(command: &mut Command, folder: Arc<TempDir>) -> Self {
        let output = folder.path().join("output");
        let output = OpenOptions::new().create(true).append(true).open(output);
        let output = output.expect("a file in our own folder");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let watchdog = Some(Watchdog::new(&child, folder.path()));
        Self {
            child,
            watchdog,
            folder,
        }
    }

    /// Waits until the admin listener (`HOST:PORT`) says ready.
    ///
    /// # Panics
    /// With the log, at once when the program ends, or when it is not ready within a minute.
    pub async fn wait_ready(&mut self, admin: &str) {
        // A proxy from the environment is no way to the loopback interface.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2));
        let http = http.build().expect("the defaults are sound");
        let url = format!("http://{admin}/readyz");
        self.wait_until(async || match http.get(&url).send().await {
            Ok(answer) => answer.status().is_success(),
            Err(_) => false,
        })
        .await;
    }

    /// Waits until `ready` says yes; panics as [`Self::wait_ready`].
    pub(crate) async fn wait_until(&mut self, mut ready: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + START;
        while !ready().await {
            if let Some(status) = self.ended() {
                panic!("ended instead of getting ready ({status}):\n{}", self.log());
            }
            assert!(
                Instant::now() < end,
                "not ready within {START:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// SIGKILL: what a crash or the out-of-memory killer does. Returns when the program is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("the child is ours");
        self.watchdog = None;
    }

    /// SIGTERM, and how the program ended.
    ///
    /// # Panics
    /// With the log, when it has not ended within a minute.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait().await
    }

    /// How the program ended, once it has.
    ///
    /// # Panics
    /// With the log, when it has not ended within a minute.
    pub async fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + STOP;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "still running after {STOP:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a signal, such as SIGSTOP for a program that hangs. No effect once it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let id = Pid::from_raw(self.child.id().cast_signed());
            kill(id, signal).expect("a child that was not reaped can be signalled");
        }
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("the child is ours");
        if status.is_some() {
            self.watchdog = None;
        }
        status
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the program has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("output")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn(Command::new("sh").args(["-c", script]))
    }

    #[tokio::test]
    async fn terminate_lets_the_program_finish() {
        let mut process =
            shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done");
        let log = process.folder.path().join("output");
        process
            .wait_until(async || std::fs::read(&log).is_ok_and(|log| log == b"up\n"))
            .await;
        assert_eq!(process.terminate().await.code(), Some(7));
        assert_eq!(process.log(), "up\nbye\n");
    }

    #[tokio::test]
    async fn kill9_does_not_ask() {
        let mut process = shell("trap '' TERM; while :; do sleep 0.1; done");
        process.kill9();
        assert_eq!(process.wait().await.signal(), Some(9));
    }

    #[tokio::test]
    #[should_panic(expected = "exit status: 3):\nno such app")]
    async fn a_program_that_ends_at_start_is_not_waited_for() {
        shell("echo no such app; exit 3")
            .wait_until(async || false)
            .await;
    }

    #[test]
    fn dropped_it_is_gone() {
        let process = shell("sleep 60");
        let id = Pid::from_raw(process.id().cast_signed());
        drop(process);
        assert!(kill(id, None).is_err());
    }
}
