//! A mistake in a file that an operator wrote: where it stands, what is wrong and what would be right.

use std::{fmt, path::PathBuf, sync::Arc};

/// One mistake. A check collects all of them before it speaks.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 if it concerns the whole file.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

/// A position in a file, for diagnostics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location {
    /// The file.
    pub file: Arc<PathBuf>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            problem,
            remedy,
        } = self;
        match line {
            0 => write!(f, "{}: {problem}; {remedy}", file.display()),
            _ => write!(f, "{}:{line}: {problem}; {remedy}", file.display()),
        }
    }
}

/// The known word nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_a_strange_word_is_not() {
        let known = ["partitions", "name", "retention"];
        assert_eq!(nearest("partition", known), Some("partitions"));
        assert_eq!(nearest("nmae", known), Some("name"));
        assert_eq!(nearest("tba", ["tab"]), Some("tab"));
        assert_eq!(nearest("colour", known), None);
    }
}
