//! Programs that precede the real ones on the PATH: `formline` with this run's addresses
//! where a document relies on the defaults, and `make` for the targets that documents use.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{paths::repository, ports::Substitution};

/// Adds a flag with this run's address unless the command has it.
const FORMLINE: &str = r#"#!/usr/bin/env bash
add() {
    local flag=$1 value=$2 given
    for given in "${arguments[@]}"; do
        [[ $given != "$flag" && $given != "$flag="* ]] || return 0
    done
    arguments+=("$flag" "$value")
}
arguments=("$@")
case "${1:-} ${2:-}" in
    "up "*) add --http HTTP; add --admin ADMIN; add --sheets SHEETS ;;
    "ingest "*) add --http HTTP; add --admin ADMIN ;;
    "process "* | "sink "*) add --admin ADMIN ;;
    "sheets-emulator "*) add --sheets SHEETS ;;
    "top "* | "plugin list") add --url http://ADMIN ;;
esac
exec BINARY "${arguments[@]}"
"#;

/// The targets of the Makefile without their builds, which the runner has done before.
const MAKE: &str = r#"#!/usr/bin/env bash
target=$1
shift
ARGS=
for setting in "$@"; do
    [[ $setting == ARGS=* ]] || { echo "make: the runner does not know $setting" >&2; exit 2; }
    ARGS=${setting#ARGS=}
done
case $target in
    # shellcheck disable=SC2086 # several flags in one setting, as in the Makefile
    up) exec formline up --data formline-data $ARGS ;;
    kafka | plugins) ;;
    *) echo "make: the runner does not know $target" >&2; exit 2 ;;
esac
"#;

/// Writes the programs into a folder for the front of the PATH.
pub(crate) fn write(folder: &Path, substitution: &mut Substitution) {
    let mut formline = FORMLINE.replace("BINARY", env!("CARGO_BIN_EXE_formline"));
    for (name, port) in [("HTTP", 8080), ("ADMIN", 8081), ("SHEETS", 8082)] {
        let address = format!("127.0.0.1:{}", substitution.port(port));
        // `--http` and the scheme are lower case, so only the placeholder has this form.
        formline = formline.replace(name, &address);
    }
    program(&folder.join("formline"), &formline);
    program(&folder.join("make"), MAKE);
    let python = python();
    program(
        &folder.join("python3"),
        &format!("#!/bin/sh\nexec {} \"$@\"\n", python.display()),
    );
}

/// A Python that has aiosmtpd, as the how-to for e-mail installs it.
fn python() -> PathBuf {
    installed("FORMLINE_TEST_SMTP", "deploy/setup/tool", &["smtp"])
}

/// What the variable names, else what a setup script finds or installs.
pub(crate) fn installed(variable: &str, script: &str, arguments: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let script = repository().join(script);
    let output = Command::new(&script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{} failed", script.display());
    String::from_utf8_lossy(&output.stdout).trim().into()
}

fn program(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}
