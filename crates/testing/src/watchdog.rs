//! Cleans up after a test process that was killed or has called `exit`, so that nothing was
//! dropped. `PR_SET_PDEATHSIG` is unsuitable: it fires when the *thread* that started the child
//! ends.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell that reads a pipe. A line dismisses it. End of file means that this process has ended:
/// the shell then kills the child and, a second later, removes its folder.
const SCRIPT: &str =
    r#"trap '' INT TERM HUP; read -r line || { kill -s KILL "$1"; sleep 1; rm -rf "$2"; }"#;

/// Kills `child` and removes `folder` if this process dies before the value is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

// === impl Watchdog ===

impl Watchdog {
    pub(crate) fn new(child: &Child, folder: &Path) -> Self {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog", &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is installed");
        Self { shell }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Fails if the shell was killed; it needs no dismissal then.
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.write_all(b"\n");
        }
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep is installed")
    }

    #[test]
    fn kills_and_cleans_up_when_the_pipe_closes() {
        let mut child = sleeper();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut watchdog = Watchdog::new(&child, folder.path());
        // As the kernel does when this process dies.
        drop(watchdog.shell.stdin.take());
        let status = child.wait().expect("started here");
        assert_eq!(status.signal(), Some(9));
        drop(watchdog);
        assert!(!folder.path().exists());
    }

    #[test]
    fn does_nothing_after_its_dismissal() {
        let mut child = sleeper();
        let folder = tempfile::tempdir().expect("a temporary folder");
        drop(Watchdog::new(&child, folder.path()));
        assert!(child.try_wait().expect("started here").is_none());
        assert!(folder.path().exists());
        child.kill().expect("started here");
        child.wait().expect("started here");
    }
}
