//! Where the documents and everything that they mention lie.

use std::path::{Path, PathBuf};

pub(crate) fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().unwrap()
}
