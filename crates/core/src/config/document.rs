//! A TOML file as it was written. Every mistake is noted with its line, and reading goes on. What its tables hold is
//! read by `section`.

use std::{cell::RefCell, fmt::Display, ops::Range, path::PathBuf, sync::Arc};

use toml::de::DeTable;

use super::{
    diagnostic::{Diagnostic, Location},
    section_reader::SectionReader,
};

/// Where `${NAME}` comes from.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The variables of this process.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The text of a file, what was found wrong with it, and the variables that it may name.
pub(crate) struct Document<'e> {
    pub(super) file: Arc<PathBuf>,
    text: String,
    environment: Environment<'e>,
    mistakes: RefCell<Vec<Diagnostic>>,
    /// Heads of sections, by line, below which some line was no TOML: a key that is not there may have been in it.
    pub(super) lost_keys: Vec<usize>,
    /// The head of some section was no TOML, and so the section is not there.
    pub(super) lost_sections: bool,
}

/// So many lines that are no TOML are named; each of them costs another look at the whole file.
const DAMAGE_LIMIT: usize = 20;

/// The line that counts as the head of what stands above all sections.
pub(super) const ROOT: usize = 0;

// === impl Document ===

impl<'e> Document<'e> {
    pub(crate) fn new(file: PathBuf, text: String, environment: Environment<'e>) -> Self {
        Self {
            file: Arc::new(file),
            text,
            environment,
            mistakes: RefCell::default(),
            lost_keys: Vec::new(),
            lost_sections: false,
        }
    }

    /// Parses the text and lets `read` take what it knows.
    pub(crate) fn read<T>(
        mut self,
        read: impl FnOnce(&mut SectionReader<'_>) -> T,
    ) -> (T, Vec<Diagnostic>) {
        self.take_out_damage();
        let (table, _) = DeTable::parse_recoverable(&self.text);
        let mut root = SectionReader::root(&self, table.get_ref());
        let read = read(&mut root);
        root.finish();
        drop(table);
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        (read, mistakes)
    }

    /// Notes what is no TOML, line by line, and takes it out, so that the rest can be read as it was meant.
    fn take_out_damage(&mut self) {
        let mut last = 0;
        while let Some((at, problem)) = self.first_damage() {
            let line = self.line(&at);
            // An open bracket or quote, of which every line below would be a mistake; or no TOML at all. The rest of the
            // file is left for the next check.
            let is_spilling = last > 0 && line <= last + 1;
            if is_spilling || self.lost_keys.len() == DAMAGE_LIMIT {
                self.lost_sections = true;
                self.text.clear();
                return;
            }
            self.note(&at, problem, "write valid toml");
            self.take_out(line);
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

    /// Empties a line; if it is the head of a section, also the section.
    fn take_out(&mut self, line: usize) {
        let is_head = |text: &str| text.trim_start().starts_with('[');
        let (mut left, mut head, mut in_section) = (Vec::new(), ROOT, false);
        for (number, text) in (1..).zip(self.text.split('\n')) {
            if is_head(text) {
                (head, in_section) = (number, number == line);
                self.lost_sections |= in_section;
            }
            if number == line {
                self.lost_keys.push(head);
            }
            left.push(if in_section || number == line {
                ""
            } else {
                text
            });
        }
        self.text = left.join("\n");
    }

    pub(super) fn note(&self, at: &Range<usize>, problem: impl Display, remedy: impl Display) {
        self.mistakes.borrow_mut().push(Diagnostic {
            file: self.file.to_path_buf(),
            line: self.line(at),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        });
    }

    pub(super) fn mistakes_so_far(&self) -> usize {
        self.mistakes.borrow().len()
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

    /// Puts variables in: `${NAME}`, or `${NAME:-default}`. None if one has no value, which is noted.
    pub(super) fn expand(&self, at: &Range<usize>, text: &str) -> Option<String> {
        let before = self.mistakes_so_far();
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("${") {
            expanded.push_str(literal);
            let Some((name, tail)) = after.split_once('}') else {
                self.note(at, "`${` has no `}`", "write ${NAME} or ${NAME:-default}");
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
                None => self.note(
                    at,
                    format_args!("the variable {name} is not set or empty"),
                    format_args!("set it, or write ${{{name}:-default}}"),
                ),
            }
            rest = tail;
        }
        expanded.push_str(rest);
        (self.mistakes_so_far() == before).then_some(expanded)
    }
}
