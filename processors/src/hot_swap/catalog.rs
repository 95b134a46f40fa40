//! The plug-in folder: which plug-ins exist, and why the other files cannot be used.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use formline_core::app::{PluginFacts, Plugins};

use super::plugin_file::{self, FileStamp, PluginFile};
use crate::{
    error::Error,
    plugin::{Engine, Plugin},
};

/// The compiled plug-ins of a folder.
#[derive(Debug)]
pub struct Catalog {
    engine: Engine,
    folder: PathBuf,
    /// The folder with the last usable content of each file, for a process that starts after a file
    /// has become unusable.
    copies: PathBuf,
    files: BTreeMap<PathBuf, PluginFile>,
}

/// One file of the folder.
#[derive(Clone, Debug)]
pub struct CatalogEntry {
    /// The path of the file.
    pub file: PathBuf,
    /// The name of the plug-in; empty if the file was never usable.
    pub name: String,
    /// The version of the plug-in.
    pub version: String,
    /// The summary that the plug-in declares.
    pub summary: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Why the present file cannot be used. The other fields then describe the last usable one.
    pub problem: Option<String>,
}

/// The result of a scan of the folder.
#[derive(Clone, Debug, Default)]
pub(super) struct FolderScan {
    /// Whether a plug-in was added, replaced or removed.
    pub(super) has_changed: bool,
    /// Whether a file has changed so recently that its writer may not have finished. The folder
    /// should be scanned again soon.
    pub(super) is_unsettled: bool,
    /// Files that have become unusable since the last scan, and why.
    pub(super) bad: Vec<(PathBuf, String)>,
}

/// The minimum number of digits of a digest that names a plug-in.
const DIGEST_DIGITS: usize = 12;

// === impl Catalog ===

impl Catalog {
    /// Reads and compiles every `.wasm` file of `folder`. `cache` is the folder for compiled code;
    /// it is created if it does not exist, and must be private to the process's user. Blocks the
    /// thread, for seconds if the cache is empty.
    ///
    /// An unusable file is not an error: [`list`](Self::list) contains it with its problem.
    ///
    /// # Errors
    /// If the folder cannot be read, or the cache cannot be used.
    pub fn open(folder: &Path, cache: &Path) -> Result<Self, Error> {
        let engine = Engine::new(cache)?;
        let mut catalog = Self {
            engine,
            folder: folder.to_owned(),
            copies: plugin_file::copies(folder, cache),
            files: BTreeMap::new(),
        };
        // On a separate thread: when a plug-in prints, WASI blocks on a future, which a thread of
        // an async runtime must not do.
        std::thread::scope(|scope| scope.spawn(|| catalog.initial_scan()).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(|source| Error::Folder {
                path: folder.to_owned(),
                source,
            })?;
        Ok(catalog)
    }

    /// All files, in the order of their names.
    pub fn list(&self) -> Vec<CatalogEntry> {
        let files = self.files.iter().map(|(file, entry)| {
            let declared = entry.plugin.as_ref().map(|plugin| &plugin.declared);
            CatalogEntry {
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

    /// Reads the files that have changed since the last scan, provided that they have not changed
    /// between two scans.
    pub(super) fn scan(&mut self) -> io::Result<FolderScan> {
        let found = self.stamps()?;
        let mut scan = FolderScan::default();
        let before = self.files.len();
        self.files.retain(|file, _| found.contains_key(file));
        scan.has_changed = self.files.len() != before;
        for (file, stamp) in found {
            let entry = self.files.entry(file.clone()).or_default();
            let is_settled = entry.seen.replace(stamp) == Some(stamp);
            if entry.read == Some(stamp) {
                continue;
            }
            if !is_settled {
                scan.is_unsettled = true;
                continue;
            }
            entry.read = Some(stamp);
            let is_new = entry.load(&self.engine, &file);
            entry.keep(&self.engine, &file, &self.copies);
            scan.has_changed |= is_new;
            let problem = entry.problem.clone();
            scan.bad.extend(problem.map(|problem| (file, problem)));
        }
        Ok(scan)
    }

    /// The file of the plug-in that a step names; none if there is no such plug-in.
    pub fn file_of(&self, reference: &str) -> Option<&Path> {
        self.find_named(reference).map(|(file, _)| file)
    }

    /// The plug-in that a step names by `name` (the highest version), `name@version` or
    /// `sha256:…`.
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

    fn initial_scan(&mut self) -> io::Result<()> {
        for (file, stamp) in self.stamps()? {
            let mut entry = PluginFile {
                seen: Some(stamp),
                read: Some(stamp),
                ..PluginFile::default()
            };
            entry.load(&self.engine, &file);
            entry.keep(&self.engine, &file, &self.copies);
            self.files.insert(file, entry);
        }
        Ok(())
    }

    /// Follows links, because Kubernetes updates the files of a volume by changing the target of a
    /// link.
    fn stamps(&self) -> io::Result<BTreeMap<PathBuf, FileStamp>> {
        let mut stamps = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "wasm") {
                continue;
            }
            // A file that was removed in the meantime does not count.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_file() {
                stamps.insert(path, FileStamp::of(&metadata));
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

/// The sort key of a version: numbers first, then pre-releases before their release.
fn precedence(version: &str) -> (Vec<u64>, bool, Vec<(bool, u64, String)>) {
    let version = version.split('+').next().unwrap_or_default();
    let (numbers, pre_release) = version.split_once('-').unwrap_or((version, ""));
    let numbers = numbers
        .split('.')
        .map(|number| number.parse().unwrap_or(0))
        .collect();
    // Numbers sort before words (Semantic Versioning 2.0.0, section 11.4).
    let identifiers = pre_release.split('.').map(|part| match part.parse() {
        Ok(number) => (false, number, String::new()),
        Err(_) => (true, 0, part.to_owned()),
    });
    (numbers, pre_release.is_empty(), identifiers.collect())
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
