//! `formline plugin test FILE CASES`: holds a plug-in against a folder of cases, as a step would run it but without Kafka.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use formline_processors::{Candidate, Inspector, TestCase};
use serde_json::{Value, json};

use super::say;
use crate::arguments::PluginTest;

/// What came of a case.
struct Tested {
    name: String,
    /// Why there is nothing to compare.
    problem: Option<String>,
    differences: Vec<Difference>,
    updated: bool,
}

/// A line that is not as expected.
struct Difference {
    /// From 1.
    line: usize,
    expected: Option<Value>,
    got: Option<Value>,
}

/// Files of a case.
const CONFIG: &str = "config.json";
const EVENTS: &str = "events.jsonl";
const EXPECTED: &str = "expected.jsonl";

pub(super) fn run(arguments: &PluginTest) -> Result<()> {
    let file = arguments.file.display();
    let loaded = Inspector::open(&arguments.data.cache())?.load(&arguments.file);
    let candidate = loaded.map_err(|problem| anyhow!("{file} cannot be used: {problem}"))?;
    let mut tested = Vec::new();
    for folder in find(&arguments.cases)? {
        let mut case = test(&candidate, &folder)?;
        if arguments.update && !case.differences.is_empty() {
            update(&folder, &case)?;
            case.updated = true;
        }
        tested.push(case);
    }
    let failed = tested.iter().filter(|case| !case.is_passed()).count();
    if arguments.output.json {
        let all: Vec<_> = tested.iter().map(Tested::as_json).collect();
        say(&Value::from(all).to_string())?;
    } else {
        let text: String = tested.iter().map(Tested::as_text).collect();
        say(&format!(
            "{text}{} of {} cases pass",
            tested.len() - failed,
            tested.len()
        ))?;
    }
    ensure!(failed == 0, "{failed} of {} cases differ", tested.len());
    Ok(())
}

/// The folders of cases, in order of names.
fn find(cases: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(cases)?.map(|entry| Ok(entry?.path()));
        entries.collect()
    };
    let mut folders = read().with_context(|| format!("cannot read {}", cases.display()))?;
    folders.retain(|folder| folder.join(EVENTS).exists());
    folders.sort();
    ensure!(
        !folders.is_empty(),
        "{} has no cases; a case is a folder in it with {EVENTS}",
        cases.display()
    );
    Ok(folders)
}

/// Runs a case and compares. An unreadable file is an error, and a plug-in that does not start a failed case.
fn test(candidate: &Candidate, folder: &Path) -> Result<Tested> {
    let case = TestCase {
        config: read(&folder.join(CONFIG))?.unwrap_or_else(|| json!({})),
        events: read_lines(&folder.join(EVENTS))?,
    };
    let expected = read_lines(&folder.join(EXPECTED))?;
    let (differences, problem) = match case.run(candidate) {
        Ok(got) => (compare(expected, got), None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    Ok(Tested {
        name: folder.file_name().unwrap_or_default().display().to_string(),
        problem,
        differences,
        updated: false,
    })
}

fn compare(expected: Vec<Value>, got: Vec<Value>) -> Vec<Difference> {
    let count = expected.len().max(got.len());
    let (mut expected, mut got) = (expected.into_iter(), got.into_iter());
    let pairs = (1..=count).map(|line| Difference {
        line,
        expected: expected.next(),
        got: got.next(),
    });
    pairs.filter(|pair| pair.expected != pair.got).collect()
}

/// Makes what came what is expected. Lines that were right stay as they were written.
fn update(folder: &Path, case: &Tested) -> Result<()> {
    let file = folder.join(EXPECTED);
    let mut lines: Vec<String> = text_of(&file)?
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    for Difference { line, got, .. } in &case.differences {
        lines.resize(lines.len().max(*line), String::new());
        lines[line - 1] = got.as_ref().map(Value::to_string).unwrap_or_default();
    }
    lines.retain(|line| !line.is_empty());
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The JSON of a file; none if there is no such file.
fn read(file: &Path) -> Result<Option<Value>> {
    let Some(text) = text_of(file)? else {
        return Ok(None);
    };
    let json = serde_json::from_str(&text);
    json.map(Some)
        .with_context(|| format!("{} is not JSON", file.display()))
}

/// The JSON of each line that is not empty; none if there is no such file.
fn read_lines(file: &Path) -> Result<Vec<Value>> {
    let text = text_of(file)?.unwrap_or_default();
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let values = lines.map(|(index, line)| {
        let json = serde_json::from_str(line);
        json.with_context(|| format!("{}:{} is not JSON", file.display(), index + 1))
    });
    values.collect()
}

fn text_of(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read
            .map(Some)
            .with_context(|| format!("cannot read {}", file.display())),
    }
}

// === impl Tested ===

impl Tested {
    fn is_passed(&self) -> bool {
        self.problem.is_none() && (self.differences.is_empty() || self.updated)
    }

    fn as_text(&self) -> String {
        let name = &self.name;
        if let Some(problem) = &self.problem {
            return format!("{name}: failed: {problem}\n");
        }
        if self.updated {
            return format!("{name}: updated\n");
        }
        if self.differences.is_empty() {
            return format!("{name}: ok\n");
        }
        let differences = self.differences.iter().map(Difference::as_text);
        format!("{name}: differs\n{}", differences.collect::<String>())
    }

    fn as_json(&self) -> Value {
        let differences = self.differences.iter().map(|difference| {
            let Difference {
                line,
                expected,
                got,
            } = difference;
            json!({ "line": line, "expected": expected, "got": got })
        });
        json!({
            "case": self.name,
            "passed": self.is_passed(),
            "updated": self.updated,
            "problem": self.problem,
            "differences": differences.collect::<Vec<_>>(),
        })
    }
}

// === impl Difference ===

impl Difference {
    fn as_text(&self) -> String {
        let show = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        let (expected, got) = (show(&self.expected), show(&self.got));
        format!(
            "  line {}\n    expected {expected}\n    got      {got}\n",
            self.line
        )
    }
}
