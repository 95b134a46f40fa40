//! The working folder of a plug-in author, and `formline plugin` run in it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use formline_testing::plugins_dir;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{formline, output_text, repository};

/// A folder that contains a plug-in folder.
pub(crate) struct AuthorFolder(TempDir);

// === impl AuthorFolder ===

impl AuthorFolder {
    pub(crate) fn new() -> Self {
        let author = Self(tempfile::tempdir().unwrap());
        fs::create_dir(author.path().join("plugins")).unwrap();
        author
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Copies a built first-party plug-in into the plug-in folder.
    pub(crate) fn install(&self, name: &str) -> PathBuf {
        let file = self.path().join("plugins").join(format!("{name}.wasm"));
        fs::copy(plugins_dir().join(format!("{name}.wasm")), &file).unwrap();
        file
    }

    /// Writes an app with two steps, of which the second uses the plug-in `other`.
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

    /// Writes a `rustc` that reports a target folder that does not exist.
    pub(crate) fn toolchain_without_target(&self) -> PathBuf {
        let folder = self.path().join("bin");
        fs::create_dir(&folder).unwrap();
        let rustc = folder.join("rustc");
        fs::write(&rustc, "#!/bin/sh\necho /nowhere/lib\n").unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = formline();
        command
            .arg("plugin")
            .args(arguments)
            .current_dir(self.path())
            .env("FORMLINE_PLUGINS", self.path().join("plugins"))
            .env("CARGO_TARGET_DIR", target())
            // Shared by all tests, so that each plug-in is compiled only once.
            .env(
                "FORMLINE_DATA",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/data"),
            );
        command
    }

    pub(crate) fn formline(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The standard output of a command that must succeed.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let output = self.formline(arguments);
        let text = output_text(&output);
        assert!(output.status.success(), "{arguments:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Self::text`], with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// The output of a command that must fail with this exit code.
    pub(crate) fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.formline(arguments);
        let text = output_text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        text
    }
}

/// The target folder of all plug-ins, shared so that the SDK is compiled only once.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("FORMLINE_PLUGINS_TARGET") {
        Some(folder) => folder.into(),
        None => Path::new(&std::env::var("HOME").unwrap()).join(".cache/formline-plugins"),
    }
}

/// The folder of the SDK.
pub(crate) fn sdk() -> String {
    let folder = repository().join("plugins/sdk");
    folder.to_str().unwrap().to_owned()
}
