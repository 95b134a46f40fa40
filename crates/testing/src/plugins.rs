//! Where the first-party plug-ins are, built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::repository;

/// The folder with `rows.wasm`, `analytics.wasm` and `enrich.wasm`: `FORMLINE_TEST_PLUGINS`, else
/// built once per process, which takes a minute the first time and a second after that.
///
/// # Panics
/// When they cannot be built; cargo's errors are in the test's output.
#[must_use]
pub fn plugins_dir() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os("FORMLINE_TEST_PLUGINS") {
        Some(folder) => folder.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    // Beside the build folders, so never in the clone and the same for every test process.
    let folder = std::env::temp_dir().join("formline-test-plugins");
    let script = repository().join("deploy/setup/plugins");
    let status = Command::new(&script).arg(&folder).status();
    assert!(
        status.is_ok_and(|code| code.success()),
        "{} failed",
        script.display()
    );
    folder
}
