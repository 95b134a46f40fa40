//! The plug-in files of these tests: those of the project, and guests that are there only to be tested with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use formline_testing::plugins_dir;
use tempfile::TempDir;

use super::Line;

/// Plug-ins that are there for these tests.
const GUESTS: [&str; 3] = ["misbehave", "worse", "moved"];

/// The file of a built plug-in, the guests of these tests included.
pub fn built(name: &str) -> PathBuf {
    let file = format!("{name}.wasm");
    if GUESTS.contains(&name) {
        guests().join(file)
    } else {
        plugins_dir().join(file)
    }
}

/// The same plug-in with another digest: bytes that nobody reads are added to it.
pub fn another(name: &str, mark: u8) -> Vec<u8> {
    padded(name, &[mark])
}

/// The same with so many bytes that nobody reads, in a custom section: id 0, size, name, content.
pub fn padded(name: &str, content: &[u8]) -> Vec<u8> {
    let mut wasm = fs::read(built(name)).unwrap();
    wasm.push(0);
    let mut size = content.len() + 2;
    // The size as LEB128: seven bits at a time, the lowest first.
    while size >= 0x80 {
        wasm.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    wasm.push(u8::try_from(size).unwrap());
    wasm.extend([1, b'x']);
    wasm.extend(content);
    wasm
}

/// The same plug-in as if it were built against this version of the contract, which is as long as the present one.
pub fn of_contract(name: &str, version: &str) -> Vec<u8> {
    renumbered(name, b"formline:plugin/", version)
}

/// The same as if only what it exports were.
pub fn exporting(name: &str, version: &str) -> Vec<u8> {
    renumbered(name, b"formline:plugin/plugin@", version)
}

/// Puts a version behind every `@` that follows a name which begins like this.
fn renumbered(name: &str, begin: &[u8], version: &str) -> Vec<u8> {
    let mut wasm = fs::read(built(name)).unwrap();
    for at in 0..wasm.len() - begin.len() {
        if wasm[at..].starts_with(begin) {
            let mut bytes = wasm[at..].iter();
            let at = at + 1 + bytes.position(|byte| *byte == b'@').unwrap();
            wasm[at..at + version.len()].copy_from_slice(version.as_bytes());
        }
    }
    wasm
}

/// Where the guests of these tests are, built once for all tests of a process.
fn guests() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Not the folder of this very build, whose lock is held by whoever runs the tests.
        let home = std::env::var("HOME").expect("a home folder");
        let target = Path::new(&home).join(".cache/formline-plugins");
        for name in GUESTS {
            build_guest(name, &target);
        }
        target.join("wasm32-wasip2/release")
    })
}

fn build_guest(name: &str, target: &Path) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/guests")
        .join(name)
        .join("Cargo.toml");
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked"])
        .args(["--target", "wasm32-wasip2", "--manifest-path"])
        .arg(&manifest)
        .env("CARGO_TARGET_DIR", target)
        .status();
    let is_built = status.is_ok_and(|code| code.success());
    assert!(is_built, "{} does not build", manifest.display());
}

/// A folder with the same files.
pub fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// Compiled code of all tests, so that each plug-in is compiled once.
pub fn cache() -> PathBuf {
    let home = std::env::var("HOME").expect("a home folder");
    Path::new(&home).join(".cache/formline-plugins/compiled-by-tests")
}

// === impl Line ===

impl Line {
    /// Drops a file into the plug-in folder as it should be done: under another name first.
    pub fn drop_file(&self, name: &str, content: &[u8]) {
        let unfinished = self.plugins.path().join(".unfinished");
        fs::write(&unfinished, content).unwrap();
        fs::rename(unfinished, self.plugin_file(name)).unwrap();
    }

    /// Where the plug-in folder has a file.
    pub fn plugin_file(&self, name: &str) -> PathBuf {
        self.plugins.path().join(format!("{name}.wasm"))
    }
}
