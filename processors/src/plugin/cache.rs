//! Compiled plug-ins on disk, by digest of their source, so that a start does not compile.
//!
//! What lies here runs as native code without further checks. So the folder must be private to the process's user,
//! and nothing is ever loaded from the plug-in folder, which others may write to.

use std::{
    collections::hash_map::DefaultHasher,
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{Hash as _, Hasher as _},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use wasmtime::{Engine, component::Component};

use crate::error::Error;

/// The private folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Version and settings of wasmtime: code of another engine is not even looked at.
    engine: u64,
}

// === impl Cache ===

impl Cache {
    /// Opens the folder, or makes it. Refuses one that others can read or write.
    pub(super) fn open(folder: &Path, engine: &Engine) -> Result<Self, Error> {
        let prepared = prepare(folder);
        prepared.map_err(|source| Error::Cache {
            path: folder.to_owned(),
            source,
        })?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            folder: folder.to_owned(),
            engine: hasher.finish(),
        })
    }

    /// What is stored for this digest; none if there is nothing usable.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        if !path.exists() {
            return None;
        }
        deserialize(engine, &path)
            .inspect_err(|error| tracing::warn!(%error, "compiling a plug-in again: its compiled form is unusable"))
            .ok()
    }

    /// Compiles and stores. A folder that cannot be written (a full disk) costs the next start time, nothing else.
    pub(super) fn store(
        &self,
        engine: &Engine,
        digest: &str,
        wasm: &[u8],
    ) -> wasmtime::Result<Component> {
        let compiled = engine.precompile_component(wasm)?;
        let path = self.path(digest);
        match write(&self.folder, &path, &compiled) {
            Ok(()) => deserialize(engine, &path),
            Err(error) => {
                tracing::warn!(%error, "cannot keep the compiled form of a plug-in");
                Component::from_binary(engine, wasm)
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder
            .join(format!("{digest}-{:016x}.compiled", self.engine))
    }
}

fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // A file that we make belongs to us, which tells our user without asking the system for it.
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let ours = create(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    let found = fs::metadata(folder)?;
    if found.uid() != ours || found.mode() & 0o077 != 0 {
        let problem =
            "others can read or write it; choose another folder, or make it private (chmod 700)";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    Ok(())
}

/// Nobody sees a half-written file: it gets its name when it is complete and on disk.
fn write(folder: &Path, path: &Path, compiled: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!(
        ".unfinished-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let mut file = create(&unfinished)?;
    file.write_all(compiled)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must hold what wasmtime has compiled. Only `write` puts files under this name, complete and
    // synced, with the output of `precompile_component`; and only our own user can write to the folder, because
    // `prepare` has refused any folder that is not ours alone. Wasmtime itself refuses code of another version or other
    // settings.
    unsafe { Component::deserialize_file(engine, path) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A component with nothing in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_was_compiled_once_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(&folder.path().join("cache"), &engine).unwrap();
        assert!(cache.load(&engine, "digest").is_none());
        cache.store(&engine, "digest", EMPTY).unwrap();
        assert!(cache.load(&engine, "digest").is_some());
        let mode = fs::metadata(cache.path("digest"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn garbage_is_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(&folder.path().join("cache"), &engine).unwrap();
        fs::write(cache.path("digest"), b"not compiled code").unwrap();
        assert!(cache.load(&engine, "digest").is_none());
        cache.store(&engine, "digest", EMPTY).unwrap();
        assert!(cache.load(&engine, "digest").is_some());
    }

    #[test]
    fn a_folder_that_others_can_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Cache::open(folder.path(), &Engine::default());
        assert!(matches!(refused, Err(Error::Cache { .. })));
    }

    #[test]
    fn a_folder_that_vanishes_costs_only_time() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(&folder.path().join("cache"), &engine).unwrap();
        fs::remove_dir(folder.path().join("cache")).unwrap();
        assert!(cache.store(&engine, "digest", EMPTY).is_ok());
    }
}
