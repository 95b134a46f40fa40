//! The plug-in files of these tests: those of the project, and guests that are there only to be tested with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use formline_testing::plugins_dir;

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
    let mut wasm = fs::read(built(name)).unwrap();
    // A custom section: id 0, size, and a name of one byte.
    wasm.extend([0, 2, 1, mark]);
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

/// Compiled code of all tests, so that each plug-in is compiled once.
pub fn cache() -> PathBuf {
    let home = std::env::var("HOME").expect("a home folder");
    Path::new(&home).join(".cache/formline-plugins/compiled-by-tests")
}
