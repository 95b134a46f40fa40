//! Apps that are rejected: all errors are reported at once, without their consequences.

use super::*;

/// The diagnostics of a text that must be invalid, one per line, without the folder.
fn diagnostics(text: &str) -> String {
    let diagnostics = load_text(text).expect_err("it has errors");
    let short = |diagnostic: &Diagnostic| {
        let folder = diagnostic.file.parent().expect("the file is in a folder");
        diagnostic
            .to_string()
            .replace(&format!("{}/", folder.display()), "")
    };
    diagnostics.iter().map(short).collect::<Vec<_>>().join("\n")
}

pub(super) fn assert_diagnostic(text: &str, part: &str) {
    let found = diagnostics(text);
    assert!(found.contains(part), "`{part}` is not in\n{found}");
}

/// Nearly every section has an error. Hardly one can be read completely, but all name their topics.
const BAD: &str = r#"
[app]
name = "My School"
[[topic]]
name = "students"
partitions = 3
[[topic]]
name = "students"
partitions = 3
[[topic]]
name = "lonely"
partitions = "six"
[[topic]]
name = "unwritten"
partition = 2
[[form]]
name = "student"
path = "/student/"
topic = "studens"
key = "rol"
schema = "student.json"
[[form]]
name = "pupil"
path = "/student"
topic = "students"
schema = "missing.json"
[[form]]
nmae = "teacher"
path = /teacher
topic = "students"
schema = "student.json"
[[step]]
name = "copy"
plugin = "cpoy"
input = { in = ["students"] }
output = { out = "copies" }
[[step]]
name = "count"
plugin = "count"
input = { inn = ["copies", "students"] }
output = { out = "counts", more = "more" }
config = { wrod = "hello" }
[[step]]
name = "round"
plugin = "copy"
input = { in = ["round"] }
output = { out = "round" }
[[sink]]
name = "sheet"
kind = "sheets"
input = ["unwritten"]
spreadsheet = "a b/c"
tab = "${NONE}"
[[sink]]
name = "copy"
kind = "sheet"
input = ["students"]
spreadsheet = "x"
[[sink]]
name = "third"
input = "counts"
spreadsheet = "${NOTHING:-}"
"#;

#[test]
fn all_errors_are_reported_at_once_each_with_its_line() {
    let expected = [
        "3: `My School` is not a name; use at most 64 of a-z, 0-9 and `-`",
        "7: topic `students` is declared twice, first in app.toml:4; remove one of the two",
        "10: topic `lonely` is not used; let a form write it or a step or sink read it, or remove it",
        "12: this value is a string; write a whole number",
        "15: unknown key `partition`; did you mean `partitions`?",
        "16: there is no topic `studens`; did you mean `students`?",
        "20: the schema has no field `rol`; did you mean `roll`?",
        "22: path /student is declared twice, first in app.toml:16; choose another path",
        "26: missing.json cannot be read: No such file or directory (os error 2); name a file in the folder of the app",
        "28: unknown key `nmae`; did you mean `name`?",
        "29: string values must be quoted, expected literal string; write valid TOML",
        "34: there is no plug-in `cpoy`; did you mean `copy`?",
        "37: step `count` keeps state, but its inputs have {3, 6} partitions; give all of them the same number of partitions",
        "40: the plug-in has no input port `inn`; did you mean `in`?",
        "41: the plug-in has no output port `more`; its output ports are out",
        "42: unknown key `wrod` in the configuration; did you mean `word`?",
        "43: step `round` is part of a cycle without an exit; let one of its steps also write a topic outside of it",
        "48: no form or step writes topic `unwritten`; let a form or step write it",
        "52: `a b/c` is not the id of a spreadsheet; copy it from the spreadsheet's address, between /d/ and /edit",
        "53: the variable NONE is not set or empty; set it, or write ${NONE:-default}",
        "54: step or sink `copy` of app `My School` is declared twice, first in app.toml:32; give it another name",
        "54: the sink reads topic `students`, which a form writes and which may contain a submission twice; put a step in between, for instance one with the plug-in rows",
        "56: unknown kind `sheet`; did you mean `sheets`?",
        "59: `kind` is missing; add it, for instance kind = \"sheets\"",
    ];
    let found = diagnostics(BAD);
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found, expected.map(|line| format!("app.toml:{line}")));
}

#[test]
fn apps_are_compared_with_each_other() {
    let renamed = GOOD
        .replace("name = \"school\"", "name = \"college\"")
        .replace("name = \"student\"", "name = \"pupil\"")
        .replace("/student/", "/pupil/");
    let other_sheet = renamed.replace("${SHEET}", "other");
    let cases = [
        (GOOD.to_owned(), "2: app `school` is declared twice"),
        (renamed, "a sink for tab `Counts` of spreadsheet"),
        (
            other_sheet.replace("partitions = 3", "partitions = 4"),
            "4: topic `students` is declared differently in",
        ),
    ];
    for (second, part) in cases {
        let found = load_texts(&[GOOD, &second]).expect_err("it has an error");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains(part), "{}", found[0]);
    }
    assert!(load_texts(&[GOOD, &other_sheet]).is_ok());
}

/// A text in the example, its replacement, and the only diagnostic.
const CONSEQUENCES: &[(&str, &str, &str)] = &[
    // No topic of the app is known, so any may exist.
    (
        "[[topic]]",
        "[[topics]]",
        "4: unknown key `topics`; did you mean `topic`?",
    ),
    (
        "name = \"students\"",
        "",
        "4: `name` is missing; add it, for instance name = \"student-data\"",
    ),
    (
        "[[topic]]",
        "[[topic]",
        "4: unclosed array table, expected `]`; write valid TOML",
    ),
    // What the step reads and writes is not known, so it may use the other topics.
    (
        "input = { in = [\"copies\"] }",
        "inputs = 1",
        "21: unknown key `inputs`; did you mean `input`?",
    ),
    (
        "out = \"copies\"",
        "out = 1",
        "17: this value is a number; write a string in quotes",
    ),
    (
        "{ out = \"copies\" }",
        "\"copies\"",
        "17: this value is a string; write output = { rows = \"student-data.rows\" }",
    ),
    (
        "= { out = \"copies\" }",
        "= copies",
        "17: string values must be quoted, expected literal string; write valid TOML",
    ),
    // Its configuration is not known.
    (
        "${WORD:-hello}",
        "${NONE}",
        "23: the variable NONE is not set or empty; set it, or write ${NONE:-default}",
    ),
    // Its plug-in is not known, nor its ports.
    (
        "plugin = \"count\"",
        "plugin = 1",
        "20: this value is a number; write a string in quotes",
    ),
    // What a sink without input reads is not known.
    (
        "input = [\"counts\"]",
        "input = []",
        "27: `input` is empty; write a value, for instance input = [\"student-data.rows\"]",
    ),
    // Its other keys are those of the unknown kind.
    (
        "kind = \"sheets\"",
        "kind = \"shets\"\nurl = 1",
        "26: unknown kind `shets`; did you mean `sheets`?",
    ),
    (
        "[[sink]]",
        "[sink]",
        "24: this value is a table; write [[sink]] above it, in double brackets",
    ),
    // An open bracket invalidates all lines below.
    (
        "[\"students\"]",
        "[\"students\"",
        "16: missing comma between array elements, expected `,`; write valid TOML",
    ),
];

#[test]
fn the_consequences_of_an_error_are_not_reported() {
    for (good, bad, expected) in CONSEQUENCES {
        assert!(GOOD.contains(good), "`{good}` is not in the example");
        let text = GOOD.replacen(good, bad, 1);
        assert_eq!(diagnostics(&text), format!("app.toml:{expected}"), "{bad}");
    }
}

#[test]
fn unknown_plug_ins_hide_no_other_error() {
    let text = GOOD.replace("tab = ", "tba = ");
    let found = load_with(&[&text], &UnknownPlugins).expect_err("it has an error");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].remedy, "did you mean `tab`?");
    assert!(load_with(&[GOOD], &UnknownPlugins).is_ok());
}

#[test]
fn ids_and_titles_are_those_that_google_accepts() {
    let long = "ä".repeat(101);
    let cases = [
        (
            "${SHEET}",
            "https://docs.google.com/x",
            "is not the id of a spreadsheet",
        ),
        ("${SHEET}", "${EMPTY:-}", "`spreadsheet` is empty"),
        ("\"${SHEET}\"", "[]", "`spreadsheet` is empty"),
        (
            "\"${SHEET}\"",
            "[\"a\", \"b c\"]",
            "`b c` is not the id of a spreadsheet",
        ),
        (
            "\"${SHEET}\"",
            "[\"a\", \"b\", \"a\"]",
            "`a` is in the list twice",
        ),
        ("Counts", "", "`tab` is empty"),
        (
            "Counts",
            long.as_str(),
            "the title of the tab has 101 characters; write at most 100",
        ),
    ];
    for (good, bad, part) in cases {
        assert_diagnostic(&GOOD.replace(good, bad), part);
    }
    let good = GOOD.replace("Counts", &"ä".repeat(100));
    assert!(load_text(&good).is_ok());
    assert!(is_spreadsheet_id(
        "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms"
    ));
    assert!(!is_spreadsheet_id(&"a".repeat(101)));
}

#[test]
fn a_sink_may_name_the_spreadsheets_to_continue_in() {
    let list = GOOD.replace("\"${SHEET}\"", "[\"a\", \"b\", \"c\"]");
    let apps = load_text(&list).expect("it is valid");
    let is_meant = |kind: &SinkKind| matches!(kind, SinkKind::Sheets(sheets) if sheets.spreadsheet == "a" && sheets.further == ["b", "c"]);
    assert!(apps[0].sinks.iter().any(|sink| is_meant(&sink.kind)));
    // No other sink may write to any of them.
    let second = "[[sink]]\nname = \"second\"\nkind = \"sheets\"\ninput = [\"copies\"]\nspreadsheet = \"c\"\ntab = \"Counts\"\n";
    assert_diagnostic(
        &format!("{list}\n{second}"),
        "a sink for tab `Counts` of spreadsheet `c`",
    );
}

#[test]
fn the_remedy_for_a_plug_in_understands_files_and_versions() {
    for (written, part) in [
        ("./plugins/copy.wasm", "did you mean `copy`?"),
        ("copy@9", "write `copy` for the newest available version"),
        (
            "toaster",
            "put its .wasm file into the plug-in folder, or name one of copy, count",
        ),
    ] {
        let text = GOOD.replace("plugin = \"copy\"", &format!("plugin = \"{written}\""));
        assert_diagnostic(&text, part);
    }
}

#[test]
fn a_step_with_state_needs_co_partitioned_inputs() {
    let text = GOOD
        .replace(
            "[[form]]",
            "[[topic]]\nname = \"copies\"\npartitions = 4\n[[form]]",
        )
        .replace("in = [\"copies\"]", "in = [\"copies\", \"students\"]");
    assert_diagnostic(&text, "keeps state, but its inputs have {3, 4} partitions");
}

#[test]
fn two_apps_cannot_share_a_path() {
    let other = GOOD
        .replace("\"school\"", "\"other\"")
        .replace("\"student\"", "\"pupil\"")
        .replace("${SHEET}", "another");
    let found = load_texts(&[GOOD, &other]).expect_err("a path is declared twice");
    assert_eq!(found.len(), 1, "{found:?}");
    let problem = &found[0].problem;
    assert!(
        problem.starts_with("path /student is declared twice"),
        "{problem}"
    );
    assert!(problem.ends_with("0/app.toml:7"), "{problem}");
    assert!(load(&[PathBuf::from("/nowhere")], &Known, &|_| None).is_err());
}

#[test]
fn a_sink_cannot_read_what_a_form_of_any_app_writes() {
    let other = "[app]\nname = \"other\"\n[[topic]]\nname = \"students\"\npartitions = 3\n\
                 [[sink]]\nname = \"all\"\n\
                 kind = \"sheets\"\ninput = \"students\"\nspreadsheet = \"x\"\ntab = \"All\"";
    let found = load_texts(&[GOOD, other]).expect_err("the topic may contain a submission twice");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].problem,
        "the sink reads topic `students`, which a form writes and which may contain a submission twice"
    );
    let remedy = "put a step in between, for instance one with the plug-in rows";
    assert_eq!((found[0].line, found[0].remedy.as_str()), (6, remedy));
}

#[test]
fn lines_that_are_not_toml_are_reported_up_to_a_limit() {
    let broken = (0..25).map(|n| format!("\n# {n}\nkey{n} = "));
    let text = GOOD.to_owned() + &broken.collect::<String>();
    let found = diagnostics(&text);
    let reported = found.matches("write valid TOML").count();
    assert_eq!((reported, found.lines().count()), (20, 20), "{found}");
}
