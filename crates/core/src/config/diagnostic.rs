//! A diagnostic about a TOML file: its position, what is wrong and how to fix it.

use std::{fmt, path::PathBuf, sync::Arc};

/// An error in a file of the operator. A check collects all diagnostics before it reports them.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 if it concerns the whole file.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// How to fix it.
    pub remedy: String,
}

/// A position in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location {
    /// The file.
    pub file: Arc<PathBuf>,
    /// The line, from 1.
    pub line: usize,
}

// === impl Diagnostic ===

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

// === impl Location ===

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Returns the known word that `word` may be a misspelling of.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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
    fn a_misspelling_is_recognised_and_another_word_is_not() {
        let known = ["partitions", "name", "retention"];
        assert_eq!(nearest("partition", known), Some("partitions"));
        assert_eq!(nearest("nmae", known), Some("name"));
        assert_eq!(nearest("tba", ["tab"]), Some("tab"));
        assert_eq!(nearest("colour", known), None);
    }
}
