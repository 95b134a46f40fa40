//! `formline plugin new NAME`: a crate that is a working plug-in, to be changed into another one.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::say;
use crate::arguments::PluginNew;

/// Where the crate gets the SDK from; no registry has it.
enum Sdk {
    /// The folder of the SDK.
    Folder(PathBuf),
    /// Address of a git repository that has the SDK.
    Git(String),
}

/// Files of the crate, with `{name}` and `{sdk}` in them.
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

/// The package of the SDK.
const SDK: &str = "formline-plugin-sdk";

/// What the host allows as the name of a plug-in.
const NAME_LENGTH: usize = 64;

pub(super) fn run(arguments: &PluginNew) -> Result<()> {
    let name = &arguments.name;
    check_name(name)?;
    let folder = arguments.path.clone().unwrap_or_else(|| name.into());
    // First, so that nothing is written without it.
    let sdk = match &arguments.sdk {
        Some(given) => Sdk::named(given)?,
        None => Sdk::find()?,
    };
    make_empty(&folder)?;
    let dependency = sdk.dependency(&folder)?;
    for (path, text) in FILES {
        let text = text.replace("{name}", name).replace("{sdk}", &dependency);
        write(&folder.join(path), &text)?;
    }
    sdk.copy_lock(&folder)?;
    let folder = folder.display();
    say(&format!(
        "{folder} is a plug-in that works; change {folder}/src/lib.rs, then\n  \
         cd {folder}\n  cargo test\n  formline plugin build --install"
    ))
}

/// The name of a package and of a plug-in at once.
fn check_name(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(legal)
            && name.len() <= NAME_LENGTH,
        "`{name}` cannot be the name of a plug-in; take small letters, digits and `-`, beginning with a letter"
    );
    Ok(())
}

/// Makes the folder, unless it is there. What lies in it may be somebody's work.
fn make_empty(folder: &Path) -> Result<()> {
    let made = fs::create_dir_all(folder).and_then(|()| fs::read_dir(folder));
    let mut found = made.with_context(|| format!("cannot make {}", folder.display()))?;
    ensure!(
        found.next().is_none(),
        "{} is not empty; name another folder with --path DIR",
        folder.display()
    );
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().expect("it lies in the crate's folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}

// === impl Sdk ===

impl Sdk {
    /// What `--sdk` names.
    fn named(given: &str) -> Result<Self> {
        if given.contains("://") {
            return Ok(Self::Git(given.to_owned()));
        }
        let folder = PathBuf::from(given);
        ensure!(
            is_sdk(&folder),
            "{given} is not the folder of {SDK}; name plugins/sdk of a Formline repository, or the address of one, such as https://…"
        );
        Ok(Self::Folder(folder.canonicalize()?))
    }

    /// The SDK of the repository that the current folder lies in.
    fn find() -> Result<Self> {
        let here = std::env::current_dir()?;
        let mut candidates = here.ancestors().map(|folder| folder.join("plugins/sdk"));
        match candidates.find(|folder| is_sdk(folder)) {
            Some(folder) => Ok(Self::Folder(folder.canonicalize()?)),
            None => bail!(
                "there is no plugins/sdk in {} or above it; say where {SDK} is with --sdk PATH, or --sdk URL for a git repository",
                here.display()
            ),
        }
    }

    /// The dependency on it in the manifest of a crate.
    fn dependency(&self, folder: &Path) -> Result<String> {
        // A JSON text is a TOML text as well.
        Ok(match self {
            Self::Git(url) => format!("git = {}", json!(url)),
            Self::Folder(sdk) => {
                let path = relative(sdk, &folder.canonicalize()?);
                let path = path.to_str();
                let path = path.context("the SDK's path is not UTF-8, which cargo needs")?;
                format!("path = {}", json!(path))
            }
        })
    }

    /// Begins with the versions that the SDK was tested with. Cargo drops what the crate does not need.
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

/// The way from one folder to another, both without links, so that a repository can be moved as a whole.
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
    fn the_way_to_another_folder_goes_up_and_down() {
        let way = |to: &str, from: &str| relative(Path::new(to), Path::new(from));
        assert_eq!(
            way("/r/plugins/sdk", "/r/mine"),
            Path::new("../plugins/sdk")
        );
        assert_eq!(
            way("/r/plugins/sdk", "/r/plugins/mine"),
            Path::new("../sdk")
        );
        assert_eq!(way("/sdk", "/a/b"), Path::new("../../sdk"));
    }
}
