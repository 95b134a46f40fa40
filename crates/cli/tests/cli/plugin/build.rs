//! `formline plugin build`: what it reports when it fails.

use std::fs;

use super::author_folder::AuthorFolder;
use crate::support::{assert_contains, output_text};

#[test]
fn a_failed_build_is_explained() {
    let author = AuthorFolder::new();
    assert_contains(
        &author.fail(1, &["build"]),
        &[". has no Cargo.toml", "formline plugin new"],
    );
    let crate_of = |text: &str| {
        let manifest = "[package]\nname = \"none\"\nedition = \"2024\"\n[workspace]\n";
        fs::create_dir_all(author.path().join("none/src")).unwrap();
        fs::write(author.path().join("none/Cargo.toml"), manifest).unwrap();
        fs::write(author.path().join("none/src/lib.rs"), text).unwrap();
    };
    crate_of("");
    assert_contains(
        &author.fail(1, &["build", "none"]),
        &["none is not a plug-in", "cdylib"],
    );
    crate_of("this is not Rust");
    let rejected = author.fail(1, &["build", "none"]);
    assert_contains(
        &rejected,
        &[
            "error: ",
            "the plug-in does not compile; see the messages of cargo",
        ],
    );
    for (path, part) in [
        (
            author.toolchain_without_target(),
            "rustup target add wasm32-wasip2",
        ),
        (
            author.path().join("nothing"),
            "install it from https://rustup.rs",
        ),
    ] {
        let mut command = author.command(&["build", "none"]);
        let rejected = command.env("PATH", path).output().unwrap();
        assert_eq!(rejected.status.code(), Some(1));
        assert_contains(&output_text(&rejected), &[part]);
    }
}
