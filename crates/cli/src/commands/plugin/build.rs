//! `formline plugin build [DIR]`: makes the component of a plug-in's crate, and puts it where a line picks it up.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::say;
use crate::arguments::PluginBuild;

/// The target whose output is a component.
const TARGET: &str = "wasm32-wasip2";

pub(super) fn run(arguments: &PluginBuild) -> Result<()> {
    let folder = &arguments.folder;
    ensure!(
        folder.join("Cargo.toml").exists(),
        "{} has no Cargo.toml; name the folder of a plug-in, or make one with formline plugin new NAME",
        folder.display()
    );
    check_target(folder)?;
    let built = compile(folder)?;
    ensure!(
        !built.is_empty(),
        "{} is not a plug-in; its Cargo.toml needs [lib] with crate-type = [\"cdylib\"]",
        folder.display()
    );
    let mut answer = Vec::new();
    for file in &built {
        let installed = match arguments.install {
            true => Some(install(file, &arguments.plugins.path())?),
            false => None,
        };
        let size = fs::metadata(file)?.len();
        answer.push(json!({ "file": file, "size": size, "installed": installed }));
    }
    if arguments.output.json {
        return say(&Value::from(answer).to_string());
    }
    let text: Vec<_> = answer.iter().map(as_text).collect();
    say(&text.join("\n"))
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

/// Asks in the folder, whose toolchain may be another one. Without the target cargo speaks of a missing crate `core`.
fn check_target(folder: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let asked = rustc.current_dir(folder).output().map_err(missing)?;
    let said = String::from_utf8_lossy(&asked.stderr);
    ensure!(
        asked.status.success(),
        "rustc does not work: {}",
        said.trim()
    );
    let libraries = String::from_utf8_lossy(&asked.stdout);
    ensure!(
        Path::new(libraries.trim()).exists(),
        "the Rust target {TARGET} is missing; add it with rustup target add {TARGET}"
    );
    Ok(())
}

fn missing(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => {
            anyhow::anyhow!("Rust is missing; install it from https://rustup.rs")
        }
        _ => anyhow::Error::new(error).context("cannot run Rust"),
    }
}

/// Builds the crate or workspace. Cargo shows its progress and what the compiler says.
fn compile(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stderr(Stdio::inherit());
    let built = cargo.output().map_err(missing)?;
    if !built.status.success() {
        bail!("the plug-in does not compile; cargo has said why");
    }
    let here = folder.canonicalize()?;
    let messages = String::from_utf8_lossy(&built.stdout);
    Ok(messages
        .lines()
        .flat_map(|line| components(line, &here))
        .collect())
}

/// The components that a message of cargo speaks of, but not those of dependencies.
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

/// Copies under another name first, so that a running line finds the file whole.
fn install(file: &Path, folder: &Path) -> Result<PathBuf> {
    let name = file.file_name().expect("cargo builds files");
    let (unfinished, installed) = (
        folder.join(format!(".{}.{}", name.display(), std::process::id())),
        folder.join(name),
    );
    let copied = fs::create_dir_all(folder)
        .and_then(|()| fs::copy(file, &unfinished))
        .and_then(|_| fs::rename(&unfinished, &installed));
    if copied.is_err() {
        // What is left of a copy that did not fit on the disk. It may not even be there.
        let _ = fs::remove_file(&unfinished);
    }
    copied.with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(installed)
}
