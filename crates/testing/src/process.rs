//! A child process that cannot outlive its test. Its output is kept in a file.

use std::fs::OpenOptions;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::watchdog::Watchdog;

/// Maximum duration of a start, for debug builds on a busy machine with two cores. Otherwise a
/// start takes seconds.
const START: Duration = Duration::from_secs(60);

/// Maximum duration of a stop. Longer than the grace period of any program.
const STOP: Duration = Duration::from_secs(60);

/// Interval between two checks.
const INTERVAL: Duration = Duration::from_millis(20);

/// A running program. It is killed when this is dropped, and also when the test process dies
/// without dropping it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// None after the child was reaped: its id may then be that of another process.
    watchdog: Option<Watchdog>,
    folder: Arc<TempDir>,
}

// === impl Process ===

impl Process {
    /// Starts the command. Its output goes to a file ([`Self::log`]).
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::spawn_in(command, Arc::new(folder))
    }

    /// As [`Self::spawn`], with the output in `folder`, which is removed with its last user.
    pub(crate) fn spawn_in(command: &mut Command, folder: Arc<TempDir>) -> Self {
        let output = folder.path().join("output");
        let output = OpenOptions::new().create(true).append(true).open(output);
        let output = output.expect("the folder is ours");
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

    /// Waits until the admin listener (`HOST:PORT`) reports that the process is ready.
    ///
    /// # Panics
    /// With the log, as soon as the program ends, or if it is not ready within a minute.
    pub async fn wait_ready(&mut self, admin: &str) {
        // A proxy from the environment may not reach the loopback interface.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2));
        let http = http.build().expect("the options are valid");
        let url = format!("http://{admin}/readyz");
        self.wait_until(async || match http.get(&url).send().await {
            Ok(response) => response.status().is_success(),
            Err(_) => false,
        })
        .await;
    }

    /// Waits until `ready` returns true; panics as [`Self::wait_ready`].
    pub(crate) async fn wait_until(&mut self, mut ready: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + START;
        while !ready().await {
            if let Some(status) = self.ended() {
                panic!("ended before it was ready ({status}):\n{}", self.log());
            }
            assert!(
                Instant::now() < end,
                "not ready within {START:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// SIGKILL, as by a crash or the out-of-memory killer. Returns after the program has ended.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("the child was started here");
        self.watchdog = None;
    }

    /// SIGTERM. Returns how the program ended.
    ///
    /// # Panics
    /// With the log, if it does not end within a minute.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait().await
    }

    /// Waits for the end of the program, and returns how it ended.
    ///
    /// # Panics
    /// With the log, if it does not end within a minute.
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
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Sends a signal, such as SIGSTOP to freeze the program. Has no effect after its end.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let id = Pid::from_raw(self.child.id().cast_signed());
            kill(id, signal).expect("the child was not reaped yet");
        }
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("the child was started here");
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

    /// The output of the program so far.
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
    async fn kill9_cannot_be_ignored() {
        let mut process = shell("trap '' TERM; while :; do sleep 0.1; done");
        process.kill9();
        assert_eq!(process.wait().await.signal(), Some(9));
    }

    #[tokio::test]
    #[should_panic(expected = "exit status: 3):\nno such app")]
    async fn a_program_that_ends_during_its_start_is_reported_at_once() {
        shell("echo no such app; exit 3")
            .wait_until(async || false)
            .await;
    }

    #[test]
    fn a_dropped_program_is_killed() {
        let process = shell("sleep 60");
        let id = Pid::from_raw(process.id().cast_signed());
        drop(process);
        assert!(kill(id, None).is_err());
    }
}
