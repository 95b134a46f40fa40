//! `formline plugin new`, and the new crate from its first test to its installation.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::author_folder::{AuthorFolder, sdk, target};
use crate::support::{assert_contains, output_text};

/// The steps of the guide for authors, up to a plug-in that a process would swap in.
#[test]
fn a_new_plug_in_passes_its_tests_is_built_and_installed() {
    let author = AuthorFolder::new();
    let sdk = sdk();
    let text = author.text(&["new", "keep-some", "--sdk", &sdk]);
    assert_contains(
        &text,
        &["keep-some contains a working plug-in", "cd keep-some"],
    );
    assert_own_tests_pass(&author.path().join("keep-some"));

    let text = author.text(&["build", "keep-some", "--install"]);
    let installed = author.path().join("plugins/keep_some.wasm");
    let size = fs::metadata(&installed).unwrap().len();
    let end = format!(
        "keep_some.wasm: {size} bytes, installed as {}\n",
        installed.display()
    );
    assert!(text.ends_with(&end), "{text}");
    let built = author.json(&["build", "keep-some"]);
    assert_eq!(
        (&built[0]["size"], &built[0]["installed"]),
        (&json!(size), &Value::Null)
    );
    // The temporary file is gone.
    assert_eq!(
        fs::read_dir(author.path().join("plugins")).unwrap().count(),
        1
    );

    let nowhere = [
        "build",
        "keep-some",
        "--install",
        "--plugins",
        "keep-some/README.md",
    ];
    assert_contains(
        &author.fail(1, &nowhere),
        &["cannot write keep-some/README.md/keep_some.wasm"],
    );

    let tested = author.text(&["test", installed.to_str().unwrap(), "keep-some/cases"]);
    assert_eq!(tested, "wanted: ok\n1 of 1 cases pass\n");

    let inspected = author.json(&["inspect", installed.to_str().unwrap()]);
    assert_eq!(inspected["name"], "keep-some");
    assert_eq!(inspected["outputs"], json!(["kept"]));
    assert_eq!(
        inspected["config_schema"]["required"],
        json!(["field", "values"])
    );
}

/// The template contains three tests.
fn assert_own_tests_pass(folder: &Path) {
    let tested = Command::new("cargo")
        .arg("test")
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let text = output_text(&tested);
    assert!(tested.status.success(), "{text}");
    assert_contains(&text, &["test result: ok. 3 passed"]);
}

#[test]
fn a_new_crate_finds_the_sdk_above_the_current_folder_or_asks_for_it() {
    let author = AuthorFolder::new();
    assert_contains(
        &author.fail(1, &["new", "mine"]),
        &["there is no plugins/sdk in ", "--sdk PATH, or --sdk URL"],
    );
    assert!(!author.path().join("mine").exists());
    assert_contains(
        &author.fail(1, &["new", "mine", "--sdk", "plugins"]),
        &["plugins is not the folder of formline-plugin-sdk"],
    );
    let manifest = |arguments: &[&str]| {
        author.text(&[&["new", "mine"], arguments].concat());
        fs::read_to_string(author.path().join(arguments[1]).join("Cargo.toml")).unwrap()
    };
    assert_contains(
        &manifest(&["--path", "far", "--sdk", "https://example.org/formline"]),
        &["formline-plugin-sdk = { git = \"https://example.org/formline\" }"],
    );
    let near = author.path().join("plugins/sdk");
    fs::create_dir(&near).unwrap();
    fs::copy(format!("{}/Cargo.toml", sdk()), near.join("Cargo.toml")).unwrap();
    assert_contains(
        &manifest(&["--path", "some/where"]),
        &[
            "name = \"mine\"",
            "formline-plugin-sdk = { path = \"../../plugins/sdk\" }",
        ],
    );
}

#[test]
fn a_new_crate_needs_a_valid_name_and_an_empty_folder() {
    let author = AuthorFolder::new();
    let sdk = sdk();
    for name in ["Keep", "9lives", "with space", "../up", ""] {
        let rejected = author.fail(1, &["new", name, "--sdk", &sdk]);
        assert_contains(&rejected, &["is not a valid plug-in name"]);
    }
    fs::write(author.path().join("file"), "").unwrap();
    let rejected = author.fail(
        1,
        &["new", "mine", "--sdk", &sdk, "--path", "plugins/../file"],
    );
    assert_contains(&rejected, &["cannot create plugins/../file"]);
    let rejected = author.fail(1, &["new", "mine", "--sdk", &sdk, "--path", "."]);
    assert_contains(
        &rejected,
        &[". is not empty; name another folder with --path DIR"],
    );
}
