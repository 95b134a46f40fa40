//! Runs the program and looks at its output.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The program that is tested.
pub(crate) fn formline() -> Command {
    Command::new(env!("CARGO_BIN_EXE_formline"))
}

/// Runs the program in the repository, with the built plug-ins.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let mut command = formline();
    command
        .args(arguments)
        .current_dir(repository())
        .env("FORMLINE_PLUGINS", formline_testing::plugins_dir());
    command.output().unwrap()
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// Standard output, and standard error after it.
pub(crate) fn output_text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.join("")
}

pub(crate) fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}
