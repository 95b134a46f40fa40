//! The folders of the built plug-ins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::tools::repository;

/// The folder with `rows.wasm`, `analytics.wasm` and `enrich.wasm`: the one that
/// `FORMLINE_TEST_PLUGINS` names, else one that is built once per process. The first build takes a
/// minute, a later one a second.
///
/// # Panics
/// If the plug-ins cannot be built. The errors of cargo are in the output of the test.
#[must_use]
pub fn plugins_dir() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| built("FORMLINE_TEST_PLUGINS", "plugins"))
}

/// The folder with the plug-ins of `processors/tests/guests`: the one that `FORMLINE_TEST_GUESTS`
/// names, else one that is built once per process.
///
/// # Panics
/// If the guests cannot be built. The errors of cargo are in the output of the test.
#[must_use]
pub fn guests_dir() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| built("FORMLINE_TEST_GUESTS", "guests"))
}

/// The folder that the variable names, else one that a script of `deploy/setup` fills.
fn built(variable: &str, script: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os(variable) {
        return folder.into();
    }
    // The same for every test process, and outside of the repository.
    let folder = std::env::temp_dir().join(format!("formline-test-{script}"));
    let script = repository().join("deploy/setup").join(script);
    let status = Command::new(&script).arg(&folder).status();
    assert!(
        status.is_ok_and(|code| code.success()),
        "{} failed",
        script.display()
    );
    folder
}
