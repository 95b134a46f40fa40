//! A TOML file with the diagnostics about it. Lines that are not valid TOML are reported and
//! removed, so that the rest of the file can be read.

use std::{cell::RefCell, fmt::Display, ops::Range, path::PathBuf, sync::Arc};

use toml::de::DeTable;

use super::diagnostic::{Diagnostic, Location};

/// Returns the value of an environment variable, for `${NAME}` and for overridden settings.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The environment variables of this process.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The text of a file, the diagnostics about it, and the variables that it may refer to.
pub(crate) struct Document<'e> {
    pub(super) file: Arc<PathBuf>,
    text: String,
    pub(super) environment: Environment<'e>,
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// Lines of section headers below which a line was removed: an absent key may have been in it.
    pub(super) lost_keys: Vec<usize>,
    /// A section header was removed, so the section is absent.
    pub(super) lost_sections: bool,
}

/// Maximum number of invalid lines that are reported. Each of them costs another parse of the file.
const DAMAGE_LIMIT: usize = 20;

/// The line that counts as the header of the keys above all sections.
pub(super) const ROOT: usize = 0;

// === impl Document ===

impl<'e> Document<'e> {
    /// Removes and reports the lines that are not valid TOML.
    pub(crate) fn new(file: PathBuf, text: String, environment: Environment<'e>) -> Self {
        let mut document = Self {
            file: Arc::new(file),
            text,
            environment,
            diagnostics: RefCell::default(),
            lost_keys: Vec::new(),
            lost_sections: false,
        };
        document.remove_damage();
        document
    }

    /// The valid lines of the file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// All diagnostics, in the order of the file.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics.into_inner();
        diagnostics.sort();
        diagnostics
    }

    fn remove_damage(&mut self) {
        let mut last = 0;
        while let Some((at, problem)) = self.first_damage() {
            let line = self.line(&at);
            // An open bracket or quote invalidates every line below it, or the file is not TOML at
            // all. The rest of the file is left for the next check.
            let is_spilling = last > 0 && line <= last + 1;
            if is_spilling || self.lost_keys.len() == DAMAGE_LIMIT {
                self.lost_sections = true;
                self.text.clear();
                return;
            }
            self.report(&at, problem, "write valid TOML");
            self.remove(line);
            last = line;
        }
    }

    fn first_damage(&self) -> Option<(Range<usize>, String)> {
        let (_, errors) = DeTable::parse_recoverable(&self.text);
        let damage = errors.into_iter().map(|error| {
            let at = error.span().unwrap_or_default();
            (at, error.message().to_owned())
        });
        damage.min_by_key(|(at, _)| at.start)
    }

    /// Empties a line and, if it is the header of a section, the section. Line numbers stay.
    fn remove(&mut self, line: usize) {
        let is_header = |text: &str| text.trim_start().starts_with('[');
        let (mut left, mut header, mut in_section) = (Vec::new(), ROOT, false);
        for (number, text) in (1..).zip(self.text.split('\n')) {
            if is_header(text) {
                (header, in_section) = (number, number == line);
                self.lost_sections |= in_section;
            }
            if number == line {
                self.lost_keys.push(header);
            }
            left.push(if in_section || number == line {
                ""
            } else {
                text
            });
        }
        self.text = left.join("\n");
    }

    /// Adds a diagnostic at a position of the text.
    pub(super) fn report(&self, at: &Range<usize>, problem: impl Display, remedy: impl Display) {
        self.diagnostics.borrow_mut().push(Diagnostic {
            file: self.file.to_path_buf(),
            line: self.line(at),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        });
    }

    /// Number of diagnostics so far.
    pub(super) fn reported(&self) -> usize {
        self.diagnostics.borrow().len()
    }

    pub(super) fn location(&self, at: &Range<usize>) -> Location {
        Location {
            file: Arc::clone(&self.file),
            line: self.line(at),
        }
    }

    fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.get(..at.start).unwrap_or(&self.text);
        1 + before.bytes().filter(|byte| *byte == b'\n').count()
    }

    /// Replaces `${NAME}` and `${NAME:-default}`. Returns `None` and reports it if a variable has
    /// no value.
    pub(super) fn expand(&self, at: &Range<usize>, text: &str) -> Option<String> {
        let before = self.reported();
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("${") {
            expanded.push_str(literal);
            let Some((name, tail)) = after.split_once('}') else {
                self.report(at, "`${` has no `}`", "write ${NAME} or ${NAME:-default}");
                return None;
            };
            let (name, default) = match name.split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (name, None),
            };
            let value = (self.environment)(name)
                .filter(|value| !value.is_empty())
                .or(default);
            match value {
                Some(value) => expanded.push_str(&value),
                None => self.report(
                    at,
                    format_args!("the variable {name} is not set or empty"),
                    format_args!("set it, or write ${{{name}:-default}}"),
                ),
            }
            rest = tail;
        }
        expanded.push_str(rest);
        (self.reported() == before).then_some(expanded)
    }
}
