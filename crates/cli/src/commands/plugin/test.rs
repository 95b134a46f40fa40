//! `formline plugin test FILE CASES`: runs a plug-in on test cases, under the limits of a step but
//! without Kafka.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use formline_processors::{Candidate, Inspector, TestCase};
use serde_json::{Value, json};

use crate::{arguments::PluginTestArgs, terminal};

/// The result of a test case.
struct CaseResult {
    name: String,
    /// Why the case could not run.
    problem: Option<String>,
    differences: Vec<LineDifference>,
    updated: bool,
}

/// A line of the output that differs from the expected one.
struct LineDifference {
    /// Counted from 1.
    line: usize,
    expected: Option<Value>,
    got: Option<Value>,
}

/// Files of a test case.
const CONFIG: &str = "config.json";
const EVENTS: &str = "events.jsonl";
const EXPECTED: &str = "expected.jsonl";

pub(super) fn run(arguments: &PluginTestArgs) -> Result<()> {
    let file = arguments.file.display();
    let loaded = Inspector::open(&arguments.data.cache())?.load(&arguments.file);
    let candidate = loaded.map_err(|problem| anyhow!("{file} cannot be used: {problem}"))?;
    let mut results = Vec::new();
    for folder in find(&arguments.cases)? {
        let mut result = test(&candidate, &folder)?;
        if arguments.update && !result.differences.is_empty() {
            update(&folder, &result)?;
            result.updated = true;
        }
        results.push(result);
    }
    let total = results.len();
    let failed = results.iter().filter(|case| !case.is_passed()).count();
    if arguments.output.json {
        let all: Vec<_> = results.iter().map(CaseResult::as_json).collect();
        terminal::print(&Value::from(all).to_string())?;
    } else {
        let text: String = results.iter().map(CaseResult::as_text).collect();
        terminal::print(&format!("{text}{} of {total} cases pass", total - failed))?;
    }
    ensure!(failed == 0, "{failed} of {total} cases failed");
    Ok(())
}

/// The folders of the cases, sorted by name.
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
        "{} contains no cases; a case is a folder with {EVENTS}",
        cases.display()
    );
    Ok(folders)
}

/// Runs a case and compares its output with the expected one. A plug-in that does not start fails
/// the case.
///
/// # Errors
/// If a file of the case cannot be read.
fn test(candidate: &Candidate, folder: &Path) -> Result<CaseResult> {
    let case = TestCase {
        config: read(&folder.join(CONFIG))?.unwrap_or_else(|| json!({})),
        events: read_lines(&folder.join(EVENTS))?,
    };
    let expected = read_lines(&folder.join(EXPECTED))?;
    let (differences, problem) = match case.run(candidate) {
        Ok(got) => (compare(expected, got), None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    Ok(CaseResult {
        name: folder.file_name().unwrap_or_default().display().to_string(),
        problem,
        differences,
        updated: false,
    })
}

fn compare(expected: Vec<Value>, got: Vec<Value>) -> Vec<LineDifference> {
    let count = expected.len().max(got.len());
    let (mut expected, mut got) = (expected.into_iter(), got.into_iter());
    let pairs = (1..=count).map(|line| LineDifference {
        line,
        expected: expected.next(),
        got: got.next(),
    });
    pairs.filter(|pair| pair.expected != pair.got).collect()
}

/// Replaces the expected output by the actual one. Lines that do not differ keep their formatting.
fn update(folder: &Path, result: &CaseResult) -> Result<()> {
    let file = folder.join(EXPECTED);
    let mut lines: Vec<String> = text_of(&file)?
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    for LineDifference { line, got, .. } in &result.differences {
        lines.resize(lines.len().max(*line), String::new());
        lines[line - 1] = got.as_ref().map(Value::to_string).unwrap_or_default();
    }
    lines.retain(|line| !line.is_empty());
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The JSON in a file; none if the file does not exist.
fn read(file: &Path) -> Result<Option<Value>> {
    let Some(text) = text_of(file)? else {
        return Ok(None);
    };
    let json = serde_json::from_str(&text);
    json.map(Some)
        .with_context(|| format!("{} is not JSON", file.display()))
}

/// The JSON in each line that is not empty; none if the file does not exist.
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

// === impl CaseResult ===

impl CaseResult {
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
        let differences = self.differences.iter().map(LineDifference::as_text);
        format!("{name}: differs\n{}", differences.collect::<String>())
    }

    fn as_json(&self) -> Value {
        let differences = self.differences.iter().map(|difference| {
            let LineDifference {
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

// === impl LineDifference ===

impl LineDifference {
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
