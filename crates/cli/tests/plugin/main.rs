//! The day of a plug-in's author: what `formline plugin` prints and does.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cases;
mod desk;

use std::{fs, process::Command};

use serde_json::{Value, json};

use self::desk::{Desk, assert_has, said, sdk, target};

#[test]
fn the_list_has_every_file_with_its_state_and_its_steps() {
    let desk = Desk::new();
    for name in ["rows", "enrich"] {
        desk.drop_in(name);
    }
    fs::write(desk.path().join("plugins/broken.wasm"), "not a component").unwrap();
    desk.app("lost@2.0.0");
    let text = desk.text(&["list"]);
    assert_has(
        &text,
        &[
            "broken.wasm: cannot be used: ",
            "rows.wasm: rows@0.1.0 sha256:",
            "  Turns each submission into a row of typed cells, for a sheet.\n  used by school/first\n",
            "  used by no step\n",
            "school/second: there is no plug-in `lost@2.0.0`\n",
        ],
    );
    let list = desk.json(&["list"]);
    let of = |file: &str| {
        let mut plugins = list["plugins"].as_array().unwrap().iter();
        let path = json!(desk.path().join("plugins").join(file));
        plugins.find(|plugin| plugin["file"] == path).unwrap()
    };
    assert_eq!(of("rows.wasm")["steps"], json!(["school/first"]));
    assert_eq!(of("rows.wasm")["problem"], Value::Null);
    assert_eq!(of("rows.wasm")["digest"].as_str().unwrap().len(), 64);
    assert_eq!(of("enrich.wasm")["steps"], json!([]));
    assert!(of("broken.wasm")["problem"].is_string());
    let missing = json!([{ "step": "school/second", "plugin": "lost@2.0.0" }]);
    assert_eq!(list["missing"], missing);
}

#[test]
fn a_step_uses_the_file_that_it_names_by_version_or_digest() {
    let desk = Desk::new();
    desk.drop_in("rows");
    let digest = desk.json(&["list"])["plugins"][0]["digest"].clone();
    let digest = digest.as_str().unwrap();
    for (named, users) in [
        ("rows@0.1.0", vec!["school/first", "school/second"]),
        (
            &format!("sha256:{}", &digest[..12]),
            vec!["school/first", "school/second"],
        ),
        ("rows@9.9.9", vec!["school/first"]),
        ("sha256:000000000000", vec!["school/first"]),
    ] {
        desk.app(named);
        assert_eq!(
            desk.json(&["list"])["plugins"][0]["steps"],
            json!(users),
            "{named}"
        );
    }
}

#[test]
fn a_list_needs_no_app_but_a_folder_and_no_mistakes() {
    let desk = Desk::new();
    assert_has(&desk.text(&["list"]), &["/plugins has no .wasm\n"]);
    let refused = desk.refused(64, &["list", "--plugins", "nowhere"]);
    assert_has(&refused, &["nowhere: the plug-in folder cannot be read"]);
    let refused = desk.refused(64, &["list", "--app", "nowhere"]);
    assert_has(&refused, &["name a folder that has an app.toml"]);
}

#[test]
fn a_file_is_inspected() {
    let desk = Desk::new();
    let file = desk.drop_in("enrich");
    let file = file.to_str().unwrap();
    assert_has(
        &desk.text(&["inspect", file]),
        &[
            "enrich 0.1.0\nAdds fields to each submission",
            "contract  formline:plugin@0.2.0\n",
            "inputs    submissions\noutputs   enriched\nstores    none\n",
            "counters  fields_already_there, fields_without_source\n",
            "imports   formline:plugin/",
            "limits    memory_bytes 67108864\n",
            "\"minProperties\": 1",
        ],
    );
    let inspected = desk.json(&["inspect", file]);
    assert_eq!(inspected["size"], fs::metadata(file).unwrap().len());
    assert_eq!(inspected["limits"]["event_ms"], 500);
    assert_eq!(inspected["config_schema"]["type"], "object");
    let listed = &desk.json(&["list"])["plugins"][0];
    for what in ["name", "version", "summary", "digest"] {
        assert_eq!(inspected[what], listed[what]);
    }
    // Whoever reads may stop early.
    let mut command = desk.command(&["inspect", file]);
    let closed = std::io::pipe().unwrap().1;
    assert!(command.stdout(closed).status().unwrap().success());
    let stores = desk.json(&["inspect", desk.drop_in("analytics").to_str().unwrap()]);
    assert_eq!(stores["stores"][0]["schema_version"], 1);
}

#[test]
fn what_is_no_plug_in_is_said_to_be_none() {
    let desk = Desk::new();
    // A component with nothing in it, a text, and nothing at all.
    fs::write(desk.path().join("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    fs::write(desk.path().join("text.wasm"), "not a component").unwrap();
    for (file, part) in [
        ("empty.wasm", "empty.wasm cannot be used: "),
        ("text.wasm", "text.wasm cannot be used: "),
        ("missing.wasm", "missing.wasm cannot be used: No such file"),
    ] {
        assert_has(&desk.refused(1, &["inspect", file]), &[part]);
    }
}

/// The guide of plugins/README.md, from nothing to a plug-in that the line would pick up.
#[test]
fn a_new_plug_in_passes_its_tests_is_built_and_installed() {
    let desk = Desk::new();
    let sdk = sdk();
    let told = desk.text(&["new", "keep-some", "--sdk", &sdk]);
    assert_has(
        &told,
        &["keep-some is a plug-in that works", "cd keep-some"],
    );
    let folder = desk.path().join("keep-some");
    let tested = Command::new("cargo")
        .arg("test")
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    assert!(tested.status.success(), "{}", said(&tested));
    assert_has(&said(&tested), &["test result: ok. 3 passed"]);

    let text = desk.text(&["build", "keep-some", "--install"]);
    let installed = desk.path().join("plugins/keep_some.wasm");
    let size = fs::metadata(&installed).unwrap().len();
    let end = format!(
        "keep_some.wasm: {size} bytes, installed as {}\n",
        installed.display()
    );
    assert!(text.ends_with(&end), "{text}");
    let built = desk.json(&["build", "keep-some"]);
    assert_eq!(
        (&built[0]["size"], &built[0]["installed"]),
        (&json!(size), &Value::Null)
    );
    // Nothing is left of the copy under another name.
    assert_eq!(
        fs::read_dir(desk.path().join("plugins")).unwrap().count(),
        1
    );

    let nowhere = [
        "build",
        "keep-some",
        "--install",
        "--plugins",
        "keep-some/README.md",
    ];
    assert_has(
        &desk.refused(1, &nowhere),
        &["cannot write keep-some/README.md/keep_some.wasm"],
    );

    let tested = desk.text(&["test", installed.to_str().unwrap(), "keep-some/cases"]);
    assert_eq!(tested, "wanted: ok\n1 of 1 cases pass\n");

    let inspected = desk.json(&["inspect", installed.to_str().unwrap()]);
    assert_eq!(inspected["name"], "keep-some");
    assert_eq!(inspected["outputs"], json!(["kept"]));
    assert_eq!(
        inspected["config_schema"]["required"],
        json!(["field", "values"])
    );
}

#[test]
fn a_new_crate_finds_the_sdk_above_the_current_folder_or_says_how_to_name_it() {
    let desk = Desk::new();
    assert_has(
        &desk.refused(1, &["new", "mine"]),
        &["there is no plugins/sdk in ", "--sdk PATH, or --sdk URL"],
    );
    assert!(!desk.path().join("mine").exists());
    assert_has(
        &desk.refused(1, &["new", "mine", "--sdk", "plugins"]),
        &["plugins is not the folder of formline-plugin-sdk"],
    );
    let manifest = |arguments: &[&str]| {
        desk.text(&[&["new", "mine"], arguments].concat());
        fs::read_to_string(desk.path().join(arguments[1]).join("Cargo.toml")).unwrap()
    };
    assert_has(
        &manifest(&["--path", "far", "--sdk", "https://example.org/formline"]),
        &["formline-plugin-sdk = { git = \"https://example.org/formline\" }"],
    );
    let near = desk.path().join("plugins/sdk");
    fs::create_dir(&near).unwrap();
    fs::copy(format!("{}/Cargo.toml", sdk()), near.join("Cargo.toml")).unwrap();
    assert_has(
        &manifest(&["--path", "some/where"]),
        &[
            "name = \"mine\"",
            "formline-plugin-sdk = { path = \"../../plugins/sdk\" }",
        ],
    );
}

#[test]
fn a_new_crate_takes_a_fit_name_and_nobody_elses_folder() {
    let desk = Desk::new();
    let sdk = sdk();
    for name in ["Keep", "9lives", "with space", "../up", ""] {
        let refused = desk.refused(1, &["new", name, "--sdk", &sdk]);
        assert_has(&refused, &["cannot be the name of a plug-in"]);
    }
    fs::write(desk.path().join("file"), "").unwrap();
    let refused = desk.refused(
        1,
        &["new", "mine", "--sdk", &sdk, "--path", "plugins/../file"],
    );
    assert_has(&refused, &["cannot make plugins/../file"]);
    let refused = desk.refused(1, &["new", "mine", "--sdk", &sdk, "--path", "."]);
    assert_has(
        &refused,
        &[". is not empty; name another folder with --path DIR"],
    );
}

#[test]
fn what_cannot_be_built_says_why() {
    let desk = Desk::new();
    assert_has(
        &desk.refused(1, &["build"]),
        &[". has no Cargo.toml", "formline plugin new"],
    );
    let crate_of = |text: &str| {
        let manifest = "[package]\nname = \"none\"\nedition = \"2024\"\n[workspace]\n";
        fs::create_dir_all(desk.path().join("none/src")).unwrap();
        fs::write(desk.path().join("none/Cargo.toml"), manifest).unwrap();
        fs::write(desk.path().join("none/src/lib.rs"), text).unwrap();
    };
    crate_of("");
    assert_has(
        &desk.refused(1, &["build", "none"]),
        &["none is not a plug-in", "cdylib"],
    );
    crate_of("this is not Rust");
    let refused = desk.refused(1, &["build", "none"]);
    assert_has(
        &refused,
        &[
            "error: ",
            "the plug-in does not compile; cargo has said why",
        ],
    );
    for (path, part) in [
        (
            desk.toolchain_without_target(),
            "rustup target add wasm32-wasip2",
        ),
        (
            desk.path().join("nothing"),
            "install it from https://rustup.rs",
        ),
    ] {
        let mut command = desk.command(&["build", "none"]);
        let refused = command.env("PATH", path).output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert_has(&said(&refused), &[part]);
    }
}
