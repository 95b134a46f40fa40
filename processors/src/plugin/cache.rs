//! Compiled plug-ins on disk, by the digest of their source, so that a start need not compile them.
//!
//! The compiled code runs natively without further checks. Therefore the folder must be private to
//! the process's user, and nothing is ever loaded from the plug-in folder, which others may write
//! to.

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

/// The private folder for compiled code.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Hash of wasmtime's version and settings. Code that another engine has compiled is never
    /// loaded.
    engine: u64,
}

// === impl Cache ===

impl Cache {
    /// Opens the folder, or creates it. Rejects a folder that other users can read or write.
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

    /// Loads the compiled form of a digest; none if there is no usable one.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        if !path.exists() {
            return None;
        }
        deserialize(engine, &path)
            .inspect_err(|error| tracing::warn!(%error, "the compiled form of a plug-in is unusable; compiling it again"))
            .ok()
    }

    /// Compiles a plug-in and stores the result. If the folder cannot be written, for example
    /// because the disk is full, the only consequence is that the next start has to compile again.
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
                tracing::warn!(%error, "cannot store the compiled form of a plug-in");
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
    // A file that this process creates belongs to its user, which identifies the user without a
    // system call.
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let ours = create(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    let found = fs::metadata(folder)?;
    if found.uid() != ours || found.mode() & 0o077 != 0 {
        let problem = "other users can read or write it; make it private (chmod 700), or choose another folder";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    Ok(())
}

/// Writes the file under a temporary name first, so that a partial file is never loaded.
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
    // SAFETY: the file must contain code that wasmtime has compiled. Only `write` creates files
    // with this name, complete and synced, from the output of `precompile_component`; and only this
    // process's user can write to the folder, because `prepare` rejects any other folder. Wasmtime
    // itself rejects code of another version or with other settings.
    unsafe { Component::deserialize_file(engine, path) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// An empty component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn compiled_code_is_loaded_again() {
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
    fn corrupt_code_is_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(&folder.path().join("cache"), &engine).unwrap();
        fs::write(cache.path("digest"), b"not compiled code").unwrap();
        assert!(cache.load(&engine, "digest").is_none());
        cache.store(&engine, "digest", EMPTY).unwrap();
        assert!(cache.load(&engine, "digest").is_some());
    }

    #[test]
    fn a_folder_that_other_users_can_access_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let rejected = Cache::open(folder.path(), &Engine::default());
        assert!(matches!(rejected, Err(Error::Cache { .. })));
    }

    #[test]
    fn a_missing_folder_does_not_prevent_compilation() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(&folder.path().join("cache"), &engine).unwrap();
        fs::remove_dir(folder.path().join("cache")).unwrap();
        assert!(cache.store(&engine, "digest", EMPTY).is_ok());
    }
}
