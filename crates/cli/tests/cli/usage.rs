//! The command line itself: help, wrong usage, version, completions and manual pages.

use std::{collections::BTreeMap, fs};

use crate::support::{assert_contains, output_text, run};

/// Commands, and flags that each must have.
const FLAGS: &str = "\
up: --app --plugins --data --bootstrap --settings --admin --http --sheets
ingest: --app --plugins --data --bootstrap --settings --admin --http
process: --app --plugins --data --bootstrap --settings --admin --step
sink: --app --plugins --data --bootstrap --settings --admin --sink --sheets
sheets-emulator: --data --sheets --quota
check: --app --plugins --data --bootstrap --settings --json
topics apply: --app --plugins --data --bootstrap --settings --json
dlq list: --app --step --sink --reason --form --since --until --json --bootstrap --settings
trace: --app --since --json --bootstrap
dlq show: --app --json --bootstrap
dlq replay: --app --step --sink --reason --form --since
plugin list: --url --app --plugins --data --json
top: --url --interval --once --json
plugin inspect: --data --json
plugin test: --update --data --json
plugin new: --path --sdk
plugin build: --install --plugins --data --json
tap: --form --id --key --partition --header --since --pretty --from-beginning --count --headers --json --bootstrap --settings";

/// The help of a flag is the same in every command that has it.
#[test]
fn a_flag_means_the_same_in_every_command() {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for line in FLAGS.lines() {
        let (command, flags) = line.split_once(": ").unwrap();
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = output_text(&run(&words));
        for flag in flags.split(' ') {
            let head = |line: &&str| line.trim_start().split(' ').next() == Some(flag);
            let mut lines = help.lines().skip_while(|line| !head(line));
            let found = lines
                .next()
                .unwrap_or_else(|| panic!("{command} lacks {flag}:\n{help}"));
            let rest = lines.take_while(|line| !line.trim_start().starts_with('-'));
            // Commands with long help put the text below the flag.
            let words = [found]
                .into_iter()
                .chain(rest)
                .flat_map(str::split_whitespace);
            let words = words.collect::<Vec<_>>().join(" ");
            let first = known
                .entry(flag.to_owned())
                .or_insert_with(|| words.clone());
            assert_eq!(words, *first, "{command}");
        }
    }
}

#[test]
fn wrong_usage_is_explained() {
    for (arguments, part) in [
        (&["upp"][..], "similar subcommand"),
        (&["up", "--htp", "1"], "--http"),
        (&["up", "--http", "nowhere"], "invalid socket address"),
        (&["tap"], "<TOPIC>"),
        (
            &["tap", "a", "--header", "=x"],
            "the name of the header is missing",
        ),
        (
            &["tap", "a", "--since", "1h", "--from-beginning"],
            "cannot be used",
        ),
    ] {
        let rejected = run(arguments);
        let text = output_text(&rejected);
        assert_eq!(rejected.status.code(), Some(64), "{arguments:?}: {text}");
        assert_contains(&text, &[part]);
    }
    assert!(run(&["--help"]).status.success());
}

#[test]
fn the_version_contains_the_commit_and_the_build_date() {
    let printed = run(&["--version"]);
    assert!(printed.status.success());
    let text = output_text(&printed);
    let version = text.trim().strip_prefix("formline ").unwrap();
    let build = version.strip_prefix(env!("CARGO_PKG_VERSION")).unwrap();
    let build = build.strip_prefix(" (").unwrap().strip_suffix(')').unwrap();
    let (commit, date) = build.rsplit_once(' ').unwrap();
    // What the build script has seen: it has compiled the binary together with this test.
    match option_env!("FORMLINE_COMMIT").filter(|given| !given.is_empty()) {
        Some(given) => assert_eq!(commit, given),
        None => {
            let is_hash = commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(commit == "unknown" || is_hash, "{text}");
        }
    }
    let shape = date.replace(|c: char| c.is_ascii_digit(), "0");
    assert!(date == "unknown" || shape == "0000-00-00", "{text}");
}

#[test]
fn every_shell_has_a_completion_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let printed = run(&["completions", shell]);
        assert!(printed.status.success(), "{shell}");
        assert_contains(&output_text(&printed), &["formline", "sheets-emulator"]);
    }
    assert_eq!(run(&["completions", "none"]).status.code(), Some(64));
}

#[test]
fn every_command_has_a_manual_page() {
    let main = run(&["man"]);
    assert!(main.status.success());
    assert_contains(&output_text(&main), &[".TH formline 1", ".SH SYNOPSIS"]);
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let written = run(&["man", "--output", pages.to_str().unwrap()]);
    assert!(written.status.success(), "{}", output_text(&written));
    for page in ["formline.1", "formline-up.1", "formline-dlq-list.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        assert_contains(&text, &[".SH NAME"]);
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let rejected = run(&["man", "--output", file.to_str().unwrap()]);
    assert_eq!(rejected.status.code(), Some(1));
    let expected = ["cannot write the manual pages to"];
    assert_contains(&output_text(&rejected), &expected);
}
