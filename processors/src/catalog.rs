//! The plug-in folder: which plug-ins are there, and what is wrong with those that cannot be used.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use formline_core::app::{PluginFacts, Plugins};
use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    plugin::{Engine, Plugin, SIZE_LIMIT},
};

/// The plug-ins of a folder, compiled.
#[derive(Debug)]
pub struct Catalog {
    engine: Engine,
    folder: PathBuf,
    /// Where the last good content of each file is kept, for a process that starts when the file has become a bad one.
    good: PathBuf,
    files: BTreeMap<PathBuf, Entry>,
}

/// One file of the folder, for people.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The file.
    pub file: PathBuf,
    /// Name of the plug-in; empty if the file was never a usable plug-in.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in its own words.
    pub summary: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Why the file as it is now cannot be used. Then the rest is of the last good one.
    pub problem: Option<String>,
}

/// What a look at the folder has found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// There is another plug-in than before, or one less.
    pub(crate) has_changed: bool,
    /// A file has changed so recently that its writer may not be done. Look again soon.
    pub(crate) is_unsettled: bool,
    /// Files that cannot be used, new since the last look, and why.
    pub(crate) bad: Vec<(PathBuf, String)>,
}

#[derive(Debug, Default)]
struct Entry {
    /// As it was at the last look.
    seen: Option<Stamp>,
    /// As it was when it was read.
    read: Option<Stamp>,
    /// The last good one; it stays when the file becomes a bad one.
    plugin: Option<Arc<Plugin>>,
    problem: Option<String>,
}

/// Tells whether a file has changed, without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// Digits of a digest that name a plug-in well enough.
const DIGEST_DIGITS: usize = 12;

// === impl Catalog ===

impl Catalog {
    /// Reads and compiles every `.wasm` file of `folder`. `cache` keeps compiled code; it is made if it is not there,
    /// and must belong to the process's user alone. Blocks, for seconds if nothing is in the cache. A file that cannot
    /// be used is no error: it is listed with its problem.
    pub fn open(folder: &Path, cache: &Path) -> Result<Self, Error> {
        let engine = Engine::new(cache)?;
        let mut catalog = Self {
            engine,
            folder: folder.to_owned(),
            good: last_good(folder, cache),
            files: BTreeMap::new(),
        };
        // On a thread of its own: a plug-in that prints makes WASI block on a future, which a thread of an async
        // runtime may not do.
        std::thread::scope(|scope| scope.spawn(|| catalog.first_look()).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(|source| Error::Folder {
                path: folder.to_owned(),
                source,
            })?;
        Ok(catalog)
    }

    /// Every file, in order of names.
    pub fn list(&self) -> Vec<Listed> {
        let files = self.files.iter().map(|(file, entry)| {
            let declared = entry.plugin.as_ref().map(|plugin| &plugin.declared);
            Listed {
                file: file.clone(),
                name: declared.map_or_else(String::new, |declared| declared.name.clone()),
                version: declared.map_or_else(String::new, |declared| declared.version.clone()),
                summary: declared.map_or_else(String::new, |declared| declared.summary.clone()),
                digest: entry
                    .plugin
                    .as_ref()
                    .map_or_else(String::new, |plugin| plugin.digest.clone()),
                problem: entry.problem.clone(),
            }
        });
        files.collect()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads what has changed since the last look, once its writer has left it alone from one look to the next.
    pub(crate) fn look(&mut self) -> io::Result<Look> {
        let found = self.stamps()?;
        let mut look = Look::default();
        let before = self.files.len();
        self.files.retain(|file, _| found.contains_key(file));
        look.has_changed = self.files.len() != before;
        for (file, stamp) in found {
            let entry = self.files.entry(file.clone()).or_default();
            let is_settled = entry.seen.replace(stamp) == Some(stamp);
            if entry.read == Some(stamp) {
                continue;
            }
            if !is_settled {
                look.is_unsettled = true;
                continue;
            }
            entry.read = Some(stamp);
            let is_new = entry.read_again(&self.engine, &file);
            entry.keep(&self.engine, &file, &self.good);
            look.has_changed |= is_new;
            let problem = entry.problem.clone();
            look.bad.extend(problem.map(|problem| (file, problem)));
        }
        Ok(look)
    }

    /// The file whose plug-in a step names; none if there is no such.
    pub fn file_of(&self, reference: &str) -> Option<&Path> {
        self.find_named(reference).map(|(file, _)| file)
    }

    /// The plug-in that a step names: `name` (the highest version), `name@version`, or `sha256:…`.
    pub(crate) fn resolve(&self, reference: &str) -> Option<Arc<Plugin>> {
        self.find_named(reference)
            .map(|(_, plugin)| Arc::clone(plugin))
    }

    fn find_named(&self, reference: &str) -> Option<(&Path, &Arc<Plugin>)> {
        let plugins = self
            .files
            .iter()
            .filter_map(|(file, entry)| Some((file.as_path(), entry.plugin.as_ref()?)));
        if let Some(digest) = reference.strip_prefix("sha256:") {
            let mut long_enough = plugins.filter(|_| digest.len() >= DIGEST_DIGITS);
            return long_enough.find(|(_, plugin)| plugin.digest.starts_with(digest));
        }
        let (name, version) = match reference.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (reference, None),
        };
        plugins
            .filter(|(_, plugin)| plugin.declared.name == name)
            .filter(|(_, plugin)| version.is_none_or(|version| plugin.declared.version == version))
            .max_by_key(|(_, plugin)| precedence(&plugin.declared.version))
    }

    fn first_look(&mut self) -> io::Result<()> {
        for (file, stamp) in self.stamps()? {
            let mut entry = Entry {
                seen: Some(stamp),
                read: Some(stamp),
                ..Entry::default()
            };
            entry.read_again(&self.engine, &file);
            entry.keep(&self.engine, &file, &self.good);
            self.files.insert(file, entry);
        }
        Ok(())
    }

    /// Follows links, because Kubernetes changes the files of a volume by changing what a link points to.
    fn stamps(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        let mut stamps = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "wasm") {
                continue;
            }
            // A file that vanishes meanwhile is one that is not there.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_file() {
                stamps.insert(path, Stamp::of(&metadata));
            }
        }
        Ok(stamps)
    }
}

impl Plugins for Catalog {
    fn find(&self, reference: &str) -> Option<PluginFacts> {
        self.resolve(reference).map(|plugin| plugin.facts.clone())
    }

    fn names(&self) -> Vec<String> {
        let plugins = self
            .files
            .values()
            .filter_map(|entry| entry.plugin.as_ref());
        let mut names: Vec<_> = plugins.map(|plugin| plugin.declared.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// What decides which of two versions is the higher one: numbers first, then a release before its pre-releases.
fn precedence(version: &str) -> (Vec<u64>, bool, Vec<(bool, u64, String)>) {
    let version = version.split('+').next().unwrap_or_default();
    let (numbers, pre_release) = version.split_once('-').unwrap_or((version, ""));
    let numbers = numbers
        .split('.')
        .map(|number| number.parse().unwrap_or(0))
        .collect();
    // Numbers lie below words (Semantic Versioning 2.0.0, 11.4).
    let identifiers = pre_release.split('.').map(|part| match part.parse() {
        Ok(number) => (false, number, String::new()),
        Err(_) => (true, 0, part.to_owned()),
    });
    (numbers, pre_release.is_empty(), identifiers.collect())
}

// === impl Entry ===

impl Entry {
    /// Whether there is another plug-in than before.
    fn read_again(&mut self, engine: &Engine, file: &Path) -> bool {
        match read(engine, file) {
            Ok(plugin) => {
                self.problem = None;
                let is_new = self
                    .plugin
                    .as_ref()
                    .is_none_or(|old| old.digest != plugin.digest);
                if is_new {
                    tracing::debug!(file = %file.display(), plugin = plugin.label, "plug-in read");
                    self.plugin = Some(Arc::new(plugin));
                }
                is_new
            }
            Err(problem) => {
                tracing::error!(file = %file.display(), problem, "this plug-in cannot be used");
                self.problem = Some(problem);
                false
            }
        }
    }
}

impl Entry {
    /// Keeps the content of a good file, and takes what was kept if the file was a bad one from the beginning.
    fn keep(&mut self, engine: &Engine, file: &Path, folder: &Path) {
        let Some(name) = file.file_name() else { return };
        let kept = folder.join(name);
        match (&self.problem, &self.plugin) {
            (None, Some(plugin)) => {
                let copied = fs::create_dir_all(folder).and_then(|()| copy(file, &kept));
                if let Err(error) = copied {
                    tracing::warn!(plugin = plugin.label, %error, "a start without this file would fail");
                }
            }
            (Some(_), None) if kept.exists() => {
                let read = read(engine, &kept);
                let read = read.inspect(|plugin| tracing::warn!(file = %file.display(), plugin = plugin.label, "the last good content of the file is used"));
                self.plugin = read.ok().map(Arc::new);
            }
            _ => {}
        }
    }
}

/// A folder in `cache` for the files of this plug-in folder alone.
fn last_good(folder: &Path, cache: &Path) -> PathBuf {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let name: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    cache.join("last-good").join(name)
}

/// Whole, or not at all.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let unfinished = to.with_extension("unfinished");
    fs::copy(from, &unfinished)?;
    fs::rename(unfinished, to)
}

/// Reads and compiles a file. The error says why it cannot be used.
pub(crate) fn read(engine: &Engine, file: &Path) -> Result<Plugin, String> {
    let size = fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > SIZE_LIMIT as u64 {
        return Err(format!("it has {size} bytes; {SIZE_LIMIT} are allowed"));
    }
    let wasm = fs::read(file).map_err(|error| error.to_string())?;
    Plugin::load(engine, &wasm)
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_version_wins_and_a_release_beats_its_candidates() {
        let mut versions = [
            "0.10.0",
            "0.9.1",
            "1.0.0-rc.10",
            "1.0.0-rc.9",
            "1.0.0",
            "0.9.1+build",
        ];
        versions.sort_by_key(|version| precedence(version));
        assert_eq!(
            versions,
            [
                "0.9.1",
                "0.9.1+build",
                "0.10.0",
                "1.0.0-rc.9",
                "1.0.0-rc.10",
                "1.0.0"
            ]
        );
    }
}
