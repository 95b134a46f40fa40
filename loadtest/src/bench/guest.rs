//! The plug-in that is there to be measured with (`loadtest/guest`), built into a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::progress;

/// Where it lies. Removed with the value.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) folder: TempDir,
}

/// Relative to the repository's root.
const MANIFEST: &str = "loadtest/guest/Cargo.toml";
/// Its name in an app.
pub(super) const NAME: &str = "exercise";

// === impl Guest ===

impl Guest {
    /// Builds it, as `deploy/setup/plugins` builds the project's own, which takes a minute the first time.
    pub(super) async fn build() -> Result<Self> {
        ensure!(
            Path::new(MANIFEST).exists(),
            "{MANIFEST} is not here; run this at the repository's root"
        );
        progress::say("building the plug-in to measure with");
        let target = target();
        let status = tokio::process::Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked"])
            .args(["--target", "wasm32-wasip2", "--manifest-path", MANIFEST])
            .env("CARGO_TARGET_DIR", &target)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .context("cargo cannot be run")?;
        ensure!(
            status.success(),
            "{MANIFEST} does not build ({status}); make plugins installs the target wasm32-wasip2"
        );
        let folder = tempfile::Builder::new()
            .prefix("formline-guest-")
            .tempdir()?;
        let file = format!("{NAME}.wasm");
        let built = target.join("wasm32-wasip2/release").join(&file);
        std::fs::copy(built, folder.path().join(file))?;
        Ok(Self { folder })
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{NAME}.wasm"))
    }
}

/// The same as that of the project's plug-ins, which share dependencies with it.
fn target() -> PathBuf {
    let named = std::env::var_os("FORMLINE_PLUGINS_TARGET").map(PathBuf::from);
    let home = || std::env::var_os("HOME").unwrap_or_default();
    named.unwrap_or_else(|| Path::new(&home()).join(".cache/formline-plugins"))
}
