//! Where the tests find programs that are not part of the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates
        .and_then(Path::parent)
        .expect("this crate is crates/testing")
}

/// The path that a variable names; without it, the path that a script of `deploy/setup` prints
/// after it has installed what is missing.
///
/// # Panics
/// If the script fails.
pub(crate) fn find(variable: &str, script: &str, arguments: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let script = repository().join("deploy/setup").join(script);
    let mut command = Command::new(&script);
    command.args(arguments).stderr(Stdio::inherit());
    let output = command.output().expect("the script exists");
    assert!(output.status.success(), "{} failed", script.display());
    String::from_utf8_lossy(&output.stdout).trim().into()
}
