//! The vocabulary: an author's folder, and the command as typed in it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use formline_testing::plugins_dir;
use serde_json::Value;
use tempfile::TempDir;

/// An author's folder, with a plug-in folder in it.
pub(crate) struct Desk(TempDir);

// === impl Desk ===

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(desk.path().join("plugins")).unwrap();
        desk
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a built plug-in into the plug-in folder.
    pub(crate) fn drop_in(&self, name: &str) -> PathBuf {
        let file = self.path().join("plugins").join(format!("{name}.wasm"));
        fs::copy(plugins_dir().join(format!("{name}.wasm")), &file).unwrap();
        file
    }

    /// An app with two steps, of which the second names the plug-in `other`.
    pub(crate) fn app(&self, other: &str) {
        let text = format!(
            r#"
            [app]
            name = "school"
            [[topic]]
            name = "school"
            [[form]]
            name = "school"
            path = "/school"
            topic = "school"
            schema = "school.schema.json"
            [[step]]
            name = "first"
            plugin = "rows"
            input = {{ submissions = ["school"] }}
            output = {{ rows = "school.rows" }}
            config = {{ columns = ["name"] }}
            [[step]]
            name = "second"
            plugin = "{other}"
            input = {{ submissions = ["school"] }}
            output = {{ out = "school.out" }}
            "#
        );
        let folder = self.path().join("apps/school");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("app.toml"), text).unwrap();
        fs::write(folder.join("school.schema.json"), r#"{"type":"object"}"#).unwrap();
    }

    /// A `rustc` that says that its libraries are where they are not.
    pub(crate) fn toolchain_without_target(&self) -> PathBuf {
        let folder = self.path().join("bin");
        fs::create_dir(&folder).unwrap();
        let rustc = folder.join("rustc");
        fs::write(&rustc, "#!/bin/sh\necho /nowhere/lib\n").unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command
            .arg("plugin")
            .args(arguments)
            .current_dir(self.path())
            .env("FORMLINE_PLUGINS", self.path().join("plugins"))
            .env("CARGO_TARGET_DIR", target())
            // Shared by all tests, so that each plug-in is compiled once.
            .env(
                "FORMLINE_DATA",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/data"),
            );
        command
    }

    pub(crate) fn formline(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints that must succeed.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let output = self.formline(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// What a command says that must end with this code.
    pub(crate) fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.formline(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output)
        );
        said(&output)
    }
}

/// Where all plug-ins are built, so that the SDK is compiled once.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("FORMLINE_PLUGINS_TARGET") {
        Some(folder) => folder.into(),
        None => Path::new(&std::env::var("HOME").unwrap()).join(".cache/formline-plugins"),
    }
}

pub(crate) fn sdk() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/sdk");
    folder.canonicalize().unwrap().to_str().unwrap().to_owned()
}

pub(crate) fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.join("")
}

pub(crate) fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}
