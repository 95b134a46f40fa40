//! One file of the plug-in folder: the plug-in in it, or why there is none.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use crate::plugin::{Engine, Plugin, SIZE_LIMIT};

/// A file and its plug-in.
#[derive(Debug, Default)]
pub(super) struct PluginFile {
    /// The file as of the last scan.
    pub(super) seen: Option<FileStamp>,
    /// The file as it was when it was read.
    pub(super) read: Option<FileStamp>,
    /// The last usable plug-in. It stays when the file becomes unusable.
    pub(super) plugin: Option<Arc<Plugin>>,
    pub(super) problem: Option<String>,
}

/// Shows whether a file has changed, without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FileStamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

// === impl PluginFile ===

impl PluginFile {
    /// Reads the file. True if it contains another plug-in than before.
    pub(super) fn load(&mut self, engine: &Engine, file: &Path) -> bool {
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
                tracing::error!(file = %file.display(), problem, "cannot use this plug-in");
                self.problem = Some(problem);
                false
            }
        }
    }

    /// Copies a usable file to `folder`. Uses the copy if the file was never usable in this
    /// process.
    pub(super) fn keep(&mut self, engine: &Engine, file: &Path, folder: &Path) {
        let Some(name) = file.file_name() else { return };
        let kept = folder.join(name);
        match (&self.problem, &self.plugin) {
            (None, Some(plugin)) => {
                let copied = fs::create_dir_all(folder).and_then(|()| copy(file, &kept));
                if let Err(error) = copied {
                    tracing::warn!(
                        plugin = plugin.label,
                        %error,
                        "cannot keep a copy of the plug-in; without its file a start would fail"
                    );
                }
            }
            (Some(_), None) if kept.exists() => {
                let read = read(engine, &kept).inspect(|plugin| {
                    tracing::warn!(
                        file = %file.display(),
                        plugin = plugin.label,
                        "using the last usable content of the file"
                    );
                });
                self.plugin = read.ok().map(Arc::new);
            }
            _ => {}
        }
    }
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

/// The folder in `cache` with copies of the files of this plug-in folder.
pub(super) fn copies(folder: &Path, cache: &Path) -> PathBuf {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let name: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    cache.join("last-good").join(name)
}

/// Copies a file atomically.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let unfinished = to.with_extension("unfinished");
    fs::copy(from, &unfinished)?;
    fs::rename(unfinished, to)
}

// === impl FileStamp ===

impl FileStamp {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}
