//! The generated files in `docs/reference`.

use std::{fs, path::Path};

/// Set to any value to write the files instead of comparing them.
const WRITE: &str = "FORMLINE_WRITE_REFERENCE";

/// Asserts that a file of `docs/reference` has this content, or writes it if the variable is set.
pub(super) fn assert_current(name: &str, content: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let file = folder.join(name);
    if std::env::var_os(WRITE).is_some() {
        fs::create_dir_all(&folder).expect("docs/reference can be created");
        fs::write(&file, content).expect("docs/reference can be written");
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let line = first_difference(&committed, content);
    assert!(
        committed == content,
        "docs/reference/{name} is stale from line {line} on; regenerate it with \
         {WRITE}=1 cargo test -p formline-cli reference"
    );
}

/// The number of the first line that differs, counted from 1.
fn first_difference(committed: &str, content: &str) -> usize {
    let pairs = committed.lines().zip(content.lines());
    1 + pairs.take_while(|(left, right)| left == right).count()
}
