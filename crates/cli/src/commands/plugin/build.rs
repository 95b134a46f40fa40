//! `formline plugin build [DIR]`: builds the component of a plug-in's crate, and installs it on
//! request.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{arguments::PluginBuildArgs, terminal};

/// The compilation target whose output is a component.
const TARGET: &str = "wasm32-wasip2";

pub(super) fn run(arguments: &PluginBuildArgs) -> Result<()> {
    let folder = &arguments.folder;
    ensure!(
        folder.join("Cargo.toml").exists(),
        "{} has no Cargo.toml; name the folder of a plug-in, or create one with formline plugin new NAME",
        folder.display()
    );
    check_target(folder)?;
    let built = compile(folder)?;
    ensure!(
        !built.is_empty(),
        "{} is not a plug-in; add [lib] with crate-type = [\"cdylib\"] to its Cargo.toml",
        folder.display()
    );
    let mut results = Vec::new();
    for file in &built {
        let installed = match arguments.install {
            true => Some(install(file, &arguments.plugins.path())?),
            false => None,
        };
        let size = fs::metadata(file)?.len();
        results.push(json!({ "file": file, "size": size, "installed": installed }));
    }
    if arguments.output.json {
        return terminal::print(&Value::from(results).to_string());
    }
    let text: Vec<_> = results.iter().map(as_text).collect();
    terminal::print(&text.join("\n"))
}

fn as_text(built: &Value) -> String {
    let path = |name: &str| built[name].as_str();
    let file = path("file").unwrap_or_default();
    let built = format!("{file}: {} bytes", built["size"]);
    match path("installed") {
        Some(installed) => format!("{built}, installed as {installed}"),
        None => built,
    }
}

/// Checks that the compilation target is installed; without it cargo only reports that the crate
/// `core` is missing. Runs in the folder because it may select another toolchain.
fn check_target(folder: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.current_dir(folder).output();
    let output = output.map_err(cannot_run_rust)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "rustc failed: {}", errors.trim());
    let libraries = String::from_utf8_lossy(&output.stdout);
    ensure!(
        Path::new(libraries.trim()).exists(),
        "the Rust target {TARGET} is not installed; add it with rustup target add {TARGET}"
    );
    Ok(())
}

fn cannot_run_rust(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => {
            anyhow::anyhow!("Rust is not installed; install it from https://rustup.rs")
        }
        _ => anyhow::Error::new(error).context("cannot run Rust"),
    }
}

/// Builds the crate or workspace and returns its components. Cargo prints progress and compiler
/// messages.
fn compile(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stderr(Stdio::inherit());
    let built = cargo.output().map_err(cannot_run_rust)?;
    if !built.status.success() {
        bail!("the plug-in does not compile; see the messages of cargo above");
    }
    let here = folder.canonicalize()?;
    let messages = String::from_utf8_lossy(&built.stdout);
    Ok(messages
        .lines()
        .flat_map(|line| components(line, &here))
        .collect())
}

/// The components in a message of cargo, without those of dependencies.
fn components(message: &str, here: &Path) -> Vec<PathBuf> {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
    let files = message["filenames"].as_array().into_iter().flatten();
    files
        .filter_map(|file| Some(PathBuf::from(file.as_str()?)))
        .filter(|file| file.extension().is_some_and(|end| end == "wasm"))
        .filter(|_| manifest.starts_with(here))
        .collect()
}

/// Copies to a temporary name first and then renames, so that running processes never read a
/// partial file.
fn install(file: &Path, folder: &Path) -> Result<PathBuf> {
    let name = file
        .file_name()
        .expect("the path of a built file has a name");
    let (unfinished, installed) = (
        folder.join(format!(".{}.{}", name.display(), std::process::id())),
        folder.join(name),
    );
    let copied = fs::create_dir_all(folder)
        .and_then(|()| fs::copy(file, &unfinished))
        .and_then(|_| fs::rename(&unfinished, &installed));
    if copied.is_err() {
        // Remove a partial copy, for instance on a full disk. It may not exist.
        let _ = fs::remove_file(&unfinished);
    }
    copied.with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(installed)
}
