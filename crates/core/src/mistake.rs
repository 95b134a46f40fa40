//! A mistake in a file that an operator wrote: where it stands, what is wrong and what would be right.

use std::{fmt, path::PathBuf};

/// One mistake. A check collects all of them before it speaks.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 if it concerns the whole file.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl fmt::Display for Mistake {
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
