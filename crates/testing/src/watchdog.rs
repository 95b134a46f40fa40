//! Clears up after a test process that was killed, or that left through `exit`, where nothing is
//! dropped. `PR_SET_PDEATHSIG` is no help: it fires when the *thread* that started the child ends.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell at the other end of a pipe. A line means "all is well"; end of file means that this
/// process is gone, and then it kills the child and, when that has let go, removes its folder.
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
            .expect("sh is there");
        Self { shell }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // An error means that somebody killed the shell: then there is nothing left to dismiss.
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
            .expect("sleep is there")
    }

    #[test]
    fn kills_and_clears_up_when_the_pipe_closes() {
        let mut child = sleeper();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut watchdog = Watchdog::new(&child, folder.path());
        // What the kernel does when this process dies.
        drop(watchdog.shell.stdin.take());
        assert_eq!(child.wait().expect("ours").signal(), Some(9));
        drop(watchdog);
        assert!(!folder.path().exists());
    }

    #[test]
    fn dismissed_it_leaves_all_alone() {
        let mut child = sleeper();
        let folder = tempfile::tempdir().expect("a temporary folder");
        drop(Watchdog::new(&child, folder.path()));
        assert!(child.try_wait().expect("ours").is_none() && folder.path().exists());
        child.kill().expect("ours");
        child.wait().expect("ours");
    }
}
