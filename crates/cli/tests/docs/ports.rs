//! Replaces the addresses and app names of a document by those of one test run.

use std::{cmp::Reverse, collections::BTreeMap};

use formline_testing::{free_port, unique};

use super::document::Document;

/// The texts of the document, and those that replace them in this run.
#[derive(Debug)]
pub(crate) struct Substitution {
    /// Whole texts, such as the address of a database, replaced first.
    texts: Vec<(String, String)>,
    /// Port on loopback by the documented one.
    ports: BTreeMap<u16, u16>,
    /// Unique name by the documented one, longer names first.
    apps: Vec<(String, String)>,
}

/// In front of every port of a document.
const LOOPBACK: &str = "127.0.0.1:";

// === impl Substitution ===

impl Substitution {
    /// `apps` are those that the repository has, in addition to those of the document.
    pub(crate) fn new(
        document: &Document,
        apps: impl Iterator<Item = String>,
        texts: Vec<(String, String)>,
    ) -> Self {
        let mut names: Vec<String> = apps.chain(document.apps.iter().cloned()).collect();
        // The longer name first, so that it is replaced before one that it begins with.
        names.sort_by_key(|name| (Reverse(name.len()), name.clone()));
        names.dedup();
        let unique = |name: String| (name.clone(), unique(&name));
        Self {
            texts,
            ports: BTreeMap::new(),
            apps: names.into_iter().map(unique).collect(),
        }
    }

    /// The port of this run. The same documented port always gives the same one.
    pub(crate) fn port(&mut self, documented: u16) -> u16 {
        *self.ports.entry(documented).or_insert_with(free_port)
    }

    pub(crate) fn apply(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (documented, own) in &self.texts {
            text = text.replace(documented, own);
        }
        for (name, own) in &self.apps {
            text = replace_word(&text, name, own);
        }
        self.replace_ports(&text)
    }

    fn replace_ports(&mut self, text: &str) -> String {
        let mut parts = text.split(LOOPBACK);
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            let (port, rest) = part.split_at(end);
            replaced.push_str(LOOPBACK);
            match port.parse() {
                // Ports that `texts` has put in already are in the range of `free_port`.
                Ok(port) if port < 20_000 => replaced.push_str(&self.port(port).to_string()),
                _ => replaced.push_str(port),
            }
            replaced.push_str(rest);
        }
        replaced
    }
}

/// Replaces a name that is a word of its own. What follows may be `-` or `.`, as in
/// `student-data-form`; what precedes may be neither a letter nor a part of a longer name.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let (mut replaced, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let behind = &found[word.len()..];
        replaced.push_str(before);
        let continues = behind.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_word = !continues && !ends_inside_name(&replaced);
        replaced.push_str(if is_word { by } else { word });
        rest = behind;
    }
    replaced + rest
}

/// A `-` belongs to a name only behind a letter or digit: `my-demo`, but not `${ID:-demo}`.
fn ends_inside_name(text: &str) -> bool {
    let text = text.strip_suffix('-').unwrap_or(text);
    text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substitution() -> Substitution {
        Substitution {
            texts: vec![(
                "redis://127.0.0.1:6379".to_owned(),
                "redis://127.0.0.1:25000".to_owned(),
            )],
            ports: BTreeMap::from([(8080, 20_001), (8081, 20_002)]),
            apps: vec![("demo".to_owned(), "demo-1f".to_owned())],
        }
    }

    #[test]
    fn addresses_and_app_names_are_replaced() {
        for (text, expected) in [
            (
                "curl http://127.0.0.1:8080/demo",
                "curl http://127.0.0.1:20001/demo-1f",
            ),
            (
                "apps/demo/demo.schema.json",
                "apps/demo-1f/demo-1f.schema.json",
            ),
            (
                "DEMO_ID demonstration my-demo demo",
                "DEMO_ID demonstration my-demo demo-1f",
            ),
            (
                "${DEMO_SHEET_ID:-demo} demo-form",
                "${DEMO_SHEET_ID:-demo-1f} demo-1f-form",
            ),
            (
                "redis://127.0.0.1:6379 127.0.0.1:8081",
                "redis://127.0.0.1:25000 127.0.0.1:20002",
            ),
        ] {
            assert_eq!(substitution().apply(text), expected);
        }
    }
}
