//! The slang list, and how a text is compared with it.
//!
//! Texts and entries are normalised: Unicode NFKC, split into words by UAX #29, lower case. Whole
//! words are compared, so `class` does not contain `ass`. Accents count, and disguises such as
//! `5lang` or `slaaang` are not detected.

use std::collections::BTreeMap;

use formline_plugin_sdk::InitError;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// The words and phrases to search for.
#[derive(Debug)]
pub(crate) struct Slang {
    /// Each entry as a list of words, with its text in the configuration.
    entries: BTreeMap<Vec<String>, String>,
    /// The number of words of the longest phrase.
    longest: usize,
}

// === impl Slang ===

impl Slang {
    /// # Errors
    /// `not-words` for an entry that contains anything but words and spaces: `f***` would match
    /// every `f`.
    pub(crate) fn new(entries: Vec<String>) -> Result<Self, InitError> {
        let keyed = entries
            .into_iter()
            .map(|entry| Ok((whole_words(&entry)?, entry)));
        let entries = keyed.collect::<Result<BTreeMap<_, _>, InitError>>()?;
        let longest = entries.keys().map(Vec::len).max().unwrap_or(0);
        Ok(Self { entries, longest })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that occur in a text, as the configuration writes them, each once.
    pub(crate) fn find(&self, text: &str) -> Vec<&str> {
        let words = words(&normalise(text));
        let mut found: Vec<&str> = Vec::new();
        for start in 0..words.len() {
            let lengths = 1..=self.longest.min(words.len() - start);
            let phrases =
                lengths.filter_map(|length| self.entries.get(&words[start..start + length]));
            for entry in phrases {
                if !found.contains(&entry.as_str()) {
                    found.push(entry);
                }
            }
        }
        found
    }
}

fn normalise(text: &str) -> String {
    text.nfkc().collect()
}

/// Lower-casing comes last, so that it depends on the word alone (the form of a sigma depends on
/// its position).
fn words(normalised: &str) -> Vec<String> {
    normalised.unicode_words().map(str::to_lowercase).collect()
}

fn whole_words(entry: &str) -> Result<Vec<String>, InitError> {
    let normalised = normalise(entry);
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    let in_words: usize = normalised.unicode_words().map(letters).sum();
    if in_words == 0 || in_words != letters(&normalised) {
        return Err(InitError::new(
            "not-words",
            format!("slang: {entry:?} must consist of words with spaces between them"),
        ));
    }
    Ok(words(&normalised))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(entries: &[&str], text: &str) -> Vec<String> {
        let entries = entries.iter().map(|&entry| entry.to_owned()).collect();
        let slang = Slang::new(entries).unwrap();
        slang.find(text).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn whole_words_are_found_in_any_context() {
        for text in [
            "ass",
            "an ass!",
            "(ASS)",
            "ass,\tass",
            "\"Ass\"…",
            "日本ass",
            "🦀ass🦀",
        ] {
            assert_eq!(found(&["ass"], text), ["ass"], "{text}");
        }
        for text in [
            "", "class", "assess", "as s", "a.s.s", "âss", "ass_1", "5lang",
        ] {
            assert!(found(&["ass"], text).is_empty(), "{text}");
        }
    }

    #[test]
    fn compatibility_forms_and_case_make_no_difference() {
        for text in ["ﬂip", "ＦＬＩＰ", "𝕗𝕝𝕚𝕡", "Ⓕlip", "fLIP"] {
            assert_eq!(found(&["Flip"], text), ["Flip"], "{text}");
        }
        assert_eq!(found(&["straße"], "STRAßE"), ["straße"]);
        assert_eq!(found(&["ΚΑΚΌΣ"], "κακός."), ["ΚΑΚΌΣ"]);
        assert_eq!(found(&["ångström"], "A\u{30a}NGSTRO\u{308}M"), ["ångström"]);
        assert!(found(&["straße"], "strasse").is_empty());
    }

    #[test]
    fn a_phrase_matches_consecutive_words() {
        let slang = ["son of a gun", "son", "gun"];
        assert_eq!(
            found(&slang, "Son-of a\n gun"),
            ["son", "son of a gun", "gun"]
        );
        assert_eq!(found(&slang, "son of"), ["son"]);
        assert_eq!(found(&["馬鹿"], "この馬鹿者"), ["馬鹿"]);
    }

    #[test]
    fn an_entry_is_found_once_and_in_the_order_of_the_text() {
        assert_eq!(found(&["a", "b"], "b a b a"), ["b", "a"]);
        assert!(found(&[], "b a").is_empty());
    }

    #[test]
    fn an_entry_must_be_words() {
        for entry in ["", " ", "f***", "!", "s-lang", "🦀"] {
            let error = Slang::new(vec![entry.to_owned()]).unwrap_err();
            assert_eq!(error.code, "not-words", "{entry}");
        }
    }
}
