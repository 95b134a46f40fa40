//! `formline plugin new NAME`: creates a crate with a working example plug-in.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use formline_plugin_contract::NAME_BYTES;
use serde_json::json;

use crate::{arguments::PluginNewArgs, terminal};

/// Where the crate takes the SDK from; it is not published to a registry.
enum SdkSource {
    /// The folder of the SDK.
    Folder(PathBuf),
    /// The URL of a git repository that contains the SDK.
    Git(String),
}

/// Files of the crate, with the placeholders `{name}` and `{sdk}`.
const FILES: [(&str, &str); 7] = [
    (
        "Cargo.toml",
        include_str!("../../../../../plugins/template/Cargo.toml.template"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../../plugins/template/lib.rs"),
    ),
    (
        "README.md",
        include_str!("../../../../../plugins/template/README.md.template"),
    ),
    (
        "cases/wanted/config.json",
        include_str!("../../../../../plugins/template/cases/wanted/config.json"),
    ),
    (
        "cases/wanted/events.jsonl",
        include_str!("../../../../../plugins/template/cases/wanted/events.jsonl"),
    ),
    (
        "cases/wanted/expected.jsonl",
        include_str!("../../../../../plugins/template/cases/wanted/expected.jsonl"),
    ),
    (".gitignore", "/target/\n/formline-data/\n"),
];

/// The package name of the SDK.
const SDK: &str = "formline-plugin-sdk";

pub(super) fn run(arguments: &PluginNewArgs) -> Result<()> {
    let name = &arguments.name;
    check_name(name)?;
    let folder = arguments.path.clone().unwrap_or_else(|| name.into());
    // Locate the SDK before anything is written.
    let sdk = match &arguments.sdk {
        Some(given) => SdkSource::named(given)?,
        None => SdkSource::find()?,
    };
    create_empty(&folder)?;
    let dependency = sdk.dependency(&folder)?;
    for (path, text) in FILES {
        let text = text.replace("{name}", name).replace("{sdk}", &dependency);
        write(&folder.join(path), &text)?;
    }
    sdk.copy_lock(&folder)?;
    let folder = folder.display();
    terminal::print(&format!(
        "{folder} contains a working plug-in; edit {folder}/src/lib.rs, then run\n  \
         cd {folder}\n  cargo test\n  formline plugin build --install"
    ))
}

/// Checks that the name is valid for a package and for a plug-in.
fn check_name(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(legal)
            && name.len() <= NAME_BYTES,
        "`{name}` is not a valid plug-in name; use lower-case letters, digits and `-`, starting with a letter"
    );
    Ok(())
}

/// Creates the folder, or accepts an empty one: existing files must not be overwritten.
fn create_empty(folder: &Path) -> Result<()> {
    let created = fs::create_dir_all(folder).and_then(|()| fs::read_dir(folder));
    let mut entries = created.with_context(|| format!("cannot create {}", folder.display()))?;
    ensure!(
        entries.next().is_none(),
        "{} is not empty; name another folder with --path DIR",
        folder.display()
    );
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file
        .parent()
        .expect("the file is in the folder of the crate");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}

// === impl SdkSource ===

impl SdkSource {
    /// The SDK that `--sdk` names.
    fn named(given: &str) -> Result<Self> {
        if given.contains("://") {
            return Ok(Self::Git(given.to_owned()));
        }
        let folder = PathBuf::from(given);
        ensure!(
            is_sdk(&folder),
            "{given} is not the folder of {SDK}; name the folder plugins/sdk of a Formline \
             repository, or the URL of a repository, such as https://…"
        );
        Ok(Self::Folder(folder.canonicalize()?))
    }

    /// The SDK of the repository that contains the current folder.
    fn find() -> Result<Self> {
        let here = std::env::current_dir()?;
        let mut candidates = here.ancestors().map(|folder| folder.join("plugins/sdk"));
        match candidates.find(|folder| is_sdk(folder)) {
            Some(folder) => Ok(Self::Folder(folder.canonicalize()?)),
            None => bail!(
                "there is no plugins/sdk in {} or above it; name the location of {SDK} with \
                 --sdk PATH, or --sdk URL for a git repository",
                here.display()
            ),
        }
    }

    /// The dependency on the SDK for the manifest of a crate.
    fn dependency(&self, folder: &Path) -> Result<String> {
        // A JSON string is also a TOML string.
        Ok(match self {
            Self::Git(url) => format!("git = {}", json!(url)),
            Self::Folder(sdk) => {
                let path = relative(sdk, &folder.canonicalize()?);
                let path = path.to_str();
                let path =
                    path.context("the path of the SDK is not UTF-8, which cargo requires")?;
                format!("path = {}", json!(path))
            }
        })
    }

    /// Copies the lock file, so that the crate starts with the versions that the SDK was tested
    /// with. Cargo removes the entries that the crate does not need.
    fn copy_lock(&self, folder: &Path) -> Result<()> {
        let Self::Folder(sdk) = self else {
            return Ok(());
        };
        match fs::copy(sdk.join("../Cargo.lock"), folder.join("Cargo.lock")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            copied => copied.map(drop).context("cannot write Cargo.lock"),
        }
    }
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"));
    manifest.is_ok_and(|text| text.contains(&format!("name = \"{SDK}\"")))
}

/// The relative path from one folder to another, both without symbolic links. A repository can then
/// be moved as a whole.
fn relative(to: &Path, from: &Path) -> PathBuf {
    let (to, from): (Vec<_>, Vec<_>) = (to.components().collect(), from.components().collect());
    let shared = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    up.chain(to[shared..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_goes_up_and_down() {
        for (to, from, expected) in [
            ("/r/plugins/sdk", "/r/mine", "../plugins/sdk"),
            ("/r/plugins/sdk", "/r/plugins/mine", "../sdk"),
            ("/sdk", "/a/b", "../../sdk"),
        ] {
            let found = relative(Path::new(to), Path::new(from));
            assert_eq!(found, Path::new(expected), "from {from} to {to}");
        }
    }
}
