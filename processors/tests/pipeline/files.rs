//! The plug-in files of these tests: the plug-ins of the project, and guests that exist only for
//! the tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use formline_testing::{guests_dir, plugins_dir};
use tempfile::TempDir;

use super::Pipeline;

/// Plug-ins that exist only for these tests.
const GUESTS: [&str; 3] = ["misbehave", "worse", "moved"];

/// The file of a built plug-in or guest.
pub fn built(name: &str) -> PathBuf {
    let file = format!("{name}.wasm");
    if GUESTS.contains(&name) {
        guests_dir().join(file)
    } else {
        plugins_dir().join(file)
    }
}

/// The same plug-in with another digest, by means of bytes that have no effect.
pub fn another(name: &str, mark: u8) -> Vec<u8> {
    padded(name, &[mark])
}

/// The same plug-in with additional bytes in a custom section: id 0, size, name, content.
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

/// The same plug-in as if it were built against another version of the contract, which must have
/// the same length.
pub fn of_contract(name: &str, version: &str) -> Vec<u8> {
    renumbered(name, b"formline:plugin/", version)
}

/// The same plug-in as if only its exports had another version.
pub fn exporting(name: &str, version: &str) -> Vec<u8> {
    renumbered(name, b"formline:plugin/plugin@", version)
}

/// Replaces the version in every name that starts with `begin`.
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

/// A copy of a folder.
pub fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// The folder for compiled code, shared by all tests, so that each plug-in is compiled once.
pub fn cache() -> PathBuf {
    let home = std::env::var("HOME").expect("a home folder");
    Path::new(&home).join(".cache/formline-plugins/compiled-by-tests")
}

// === impl Pipeline ===

impl Pipeline {
    /// Installs a file in the plug-in folder as users should: under another name first.
    pub fn drop_file(&self, name: &str, content: &[u8]) {
        let unfinished = self.plugins.path().join(".unfinished");
        fs::write(&unfinished, content).unwrap();
        fs::rename(unfinished, self.plugin_file(name)).unwrap();
    }

    /// The path of a file in the plug-in folder.
    pub fn plugin_file(&self, name: &str) -> PathBuf {
        self.plugins.path().join(format!("{name}.wasm"))
    }
}
