//! Builds the plug-in of the bench (`loadtest/guest`).

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::progress;

/// The built plug-in in a temporary folder.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) folder: TempDir,
}

/// The manifest, relative to the root of the repository.
const MANIFEST: &str = "loadtest/guest/Cargo.toml";
/// The name of the plug-in in an app.
pub(super) const NAME: &str = "exercise";

// === impl Guest ===

impl Guest {
    /// Builds the plug-in like `deploy/setup/plugins` builds the others, which takes a minute the
    /// first time.
    pub(super) async fn build() -> Result<Self> {
        ensure!(
            Path::new(MANIFEST).exists(),
            "{MANIFEST} does not exist; run this in the root of the repository"
        );
        progress::print("building the plug-in of the bench");
        let target = target();
        let status = tokio::process::Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked"])
            .args(["--target", "wasm32-wasip2", "--manifest-path", MANIFEST])
            .env("CARGO_TARGET_DIR", &target)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .context("failed to run cargo")?;
        ensure!(
            status.success(),
            "failed to build {MANIFEST} ({status}); make plugins installs the target wasm32-wasip2"
        );
        let folder = tempfile::Builder::new()
            .prefix("formline-guest-")
            .tempdir()?;
        let file = format!("{NAME}.wasm");
        let built = target.join("wasm32-wasip2/release").join(&file);
        std::fs::copy(built, folder.path().join(file))?;
        Ok(Self { folder })
    }

    /// The compiled component.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{NAME}.wasm"))
    }
}

/// The target folder of all plug-ins, which share dependencies.
fn target() -> PathBuf {
    let configured = std::env::var_os("FORMLINE_PLUGINS_TARGET").map(PathBuf::from);
    let home = || std::env::var_os("HOME").unwrap_or_default();
    configured.unwrap_or_else(|| Path::new(&home()).join(".cache/formline-plugins"))
}
