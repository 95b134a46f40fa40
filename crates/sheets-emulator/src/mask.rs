//! Field masks, which select the fields that a request writes (`fields` in a body) or reads
//! (`?fields=`). They use the names in JSON (`gridProperties.rowCount`, `sheets(properties)`, `*`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api_error::ApiError;

/// Maximum length of a mask in bytes.
const MAX_LENGTH: usize = 4_096;
/// Maximum depth of a mask, which also limits the recursion of `filter`.
const MAX_DEPTH: usize = 32;

/// A tree of field names. A node without children selects everything below it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FieldMask(BTreeMap<String, Self>);

// === impl FieldMask ===

impl FieldMask {
    /// Parses a mask; `None` if it is empty, which selects everything in reads and is an error in
    /// writes.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, ApiError> {
        let invalid = || ApiError::invalid(format!("Invalid field mask: '{text}'"));
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_LENGTH {
            return Err(ApiError::invalid(format!(
                "A field mask may have at most {MAX_LENGTH} characters"
            )));
        }
        let mut mask = Self::default();
        let rest = mask.parse_list(text, 0).ok_or_else(invalid)?;
        if rest.is_empty() {
            Ok(Some(mask))
        } else {
            Err(invalid())
        }
    }

    /// Parses `a.b,c(d,e)` to the end or to a closing bracket, and returns the rest of the text.
    fn parse_list<'t>(&mut self, mut text: &'t str, depth: usize) -> Option<&'t str> {
        if depth > MAX_DEPTH {
            return None;
        }
        loop {
            text = self.parse_path(text, depth)?;
            match text.strip_prefix(',') {
                Some(more) => text = more,
                None => return Some(text),
            }
        }
    }

    fn parse_path<'t>(&mut self, text: &'t str, depth: usize) -> Option<&'t str> {
        if depth > MAX_DEPTH {
            return None;
        }
        let text = text.trim_start();
        let length = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_*".contains(c)))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(length);
        if name.is_empty() {
            return None;
        }
        let node = self.0.entry(name.to_owned()).or_default();
        let rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix(['.', '/']) {
            return node.parse_path(rest, depth + 1);
        }
        match rest.strip_prefix('(') {
            Some(rest) => node.parse_list(rest, depth + 1)?.strip_prefix(')'),
            None => Some(rest),
        }
    }

    /// The names at the top level of the mask.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether the mask covers this dotted path, completely or partially.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let Some(node) = self.0.get("*").or_else(|| self.0.get(name)) else {
            return false;
        };
        node.0.is_empty() || rest.is_empty() || node.covers(rest)
    }

    /// Removes the fields of `value` that the mask does not select. Each element of a list is
    /// filtered.
    pub(crate) fn filter(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.filter(item)),
            Value::Object(fields) if !self.0.contains_key("*") => {
                fields.retain(|name, _| self.0.contains_key(name));
                for (name, field) in fields.iter_mut() {
                    if let Some(node) = self.0.get(name).filter(|node| !node.0.is_empty()) {
                        node.filter(field);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mask(text: &str) -> FieldMask {
        FieldMask::parse(text).unwrap().unwrap()
    }

    #[test]
    fn dots_and_brackets_mean_the_same() {
        assert_eq!(mask("a.b,a.c,d"), mask("a(b,c),d"));
        assert_eq!(mask("a/b"), mask("a.b"));
    }

    #[test]
    fn covers_parents_and_children() {
        let mask = mask("title,gridProperties.rowCount");
        assert!(mask.covers("title"));
        assert!(mask.covers("gridProperties.rowCount"));
        assert!(mask.covers("gridProperties"));
        assert!(!mask.covers("gridProperties.columnCount"));
        assert!(!mask.covers("hidden"));
        assert!(
            super::FieldMask::parse("*")
                .unwrap()
                .unwrap()
                .covers("hidden")
        );
    }

    #[test]
    fn keeps_the_selected_fields() {
        let mut value = json!({ "id": 1, "sheets": [{ "a": 1, "b": 2 }, { "b": 3 }] });
        mask("sheets(a)").filter(&mut value);
        assert_eq!(value, json!({ "sheets": [{ "a": 1 }, {}] }));
    }

    #[test]
    fn rejects_invalid_masks() {
        let nested = "(a".repeat(2_000);
        for text in ["a,", "a(", "a)", ".", "a..b", "a(b", "ä", nested.as_str()] {
            assert!(FieldMask::parse(text).is_err(), "{text}");
        }
        assert!(FieldMask::parse(&"a.".repeat(100)).is_err());
        assert!(FieldMask::parse(&"a".repeat(MAX_LENGTH + 1)).is_err());
        assert!(FieldMask::parse("").unwrap().is_none());
    }
}
