//! A JSON object, split into its top-level fields only.
//!
//! Values keep the text as it was submitted: numbers of any size and precision pass unchanged, and
//! deep nesting cannot exhaust the stack, because values are skipped without recursion.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of a JSON object, in their original order.
///
/// ```
/// use formline_plugin_sdk::Object;
///
/// let object = Object::parse(br#"{"name": "Ann", "price": 1.50, "at": {"city": "Linz"}}"#)?;
/// assert_eq!(object.text("name").as_deref(), Some("Ann"));
/// assert_eq!(object.get("price").map(|value| value.get()), Some("1.50"));
/// assert_eq!(object.text("/at/city").as_deref(), Some("Linz"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

// === impl Object ===

impl<'a> Object<'a> {
    /// Splits a JSON text into fields.
    ///
    /// # Errors
    /// If the text is not JSON, or not an object.
    pub fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The value of a field. `field` is a name, or a JSON pointer (RFC 6901) if it starts with `/`.
    /// If the object contains a name more than once, the last value counts, as in most parsers.
    pub fn get(&self, field: &str) -> Option<&'a RawValue> {
        let Some(pointer) = field.strip_prefix('/') else {
            return self.own(field);
        };
        let mut tokens = pointer.split('/').map(unescape);
        let first = self.own(&tokens.next()?)?;
        tokens.try_fold(first, |value, token| child(value, &token))
    }

    /// The text of a field that contains a JSON string; `None` for other types.
    pub fn text(&self, field: &str) -> Option<Cow<'a, str>> {
        self.get(field).and_then(text)
    }

    /// Whether the object has a top-level field of this name, even if its value is null.
    pub fn contains(&self, name: &str) -> bool {
        self.own(name).is_some()
    }

    /// The fields in their original order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_ref(), *value))
    }

    /// Whether the object has no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn own(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.fields.iter().rfind(|(own, _)| own == name);
        found.map(|(_, value)| *value)
    }
}

/// Decodes one reference token of a JSON pointer. The order of the replacements matters: `~01`
/// means `~1`, not `/`.
fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

fn child<'a>(value: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    match value.get().as_bytes().first()? {
        b'{' => Object::parse(value.get().as_bytes()).ok()?.own(token),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            items.get(array_index(token)?).copied()
        }
        _ => None,
    }
}

/// An index as in RFC 6901, section 4: digits without a leading zero.
fn array_index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    let plain = token.len() == 1 || !token.starts_with('0');
    (digits && plain).then(|| token.parse().ok())?
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(value.get())
        .map(|Text(text)| text)
        .ok()
}

/// serde borrows a `Cow` only with this attribute.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((Text(name), value)) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(Object { fields })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn get(text: &str, field: &str) -> Option<String> {
        let object = Object::parse(text.as_bytes()).unwrap();
        object.get(field).map(|value| value.get().to_owned())
    }

    #[test]
    fn values_keep_their_original_text() {
        let text = r#" { "a" : 10.10 , "b": 1e400, "c":12345678901234567890123, "d":"\u00e9", "e" : { "x" : [ 1 ] } } "#;
        for (field, value) in [
            ("a", "10.10"),
            ("b", "1e400"),
            ("c", "12345678901234567890123"),
            ("d", r#""\u00e9""#),
            ("e", r#"{ "x" : [ 1 ] }"#),
        ] {
            assert_eq!(get(text, field).as_deref(), Some(value));
        }
        assert_eq!(
            Object::parse(text.as_bytes()).unwrap().text("d").unwrap(),
            "é"
        );
    }

    #[test]
    fn a_pointer_leads_into_objects_and_arrays() {
        let text = r#"{"a":{"b":[{"c":1},null]},"x/y":2,"m~n":3,"":{"":4},"~1":5}"#;
        for (pointer, value) in [
            ("/a/b/0/c", Some("1")),
            ("/a/b/1", Some("null")),
            ("/x~1y", Some("2")),
            ("x/y", Some("2")),
            ("/m~0n", Some("3")),
            ("/~01", Some("5")),
            ("//", Some("4")),
            ("/a/b/2", None),
            ("/a/b/00", None),
            ("/a/b/-", None),
            ("/a/b/99999999999999999999999", None),
            ("/a/b/0/c/d", None),
            ("/nowhere/b", None),
            ("nowhere", None),
        ] {
            assert_eq!(get(text, pointer).as_deref(), value, "{pointer}");
        }
    }

    #[test]
    fn the_last_of_two_fields_with_the_same_name_counts() {
        assert_eq!(get(r#"{"a":1,"\u0061":2}"#, "a").as_deref(), Some("2"));
    }

    #[test]
    fn fields_keep_their_original_order() {
        let object = Object::parse(br#"{"z":1,"a":2,"m":3}"#).unwrap();
        let names: Vec<_> = object.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["z", "a", "m"]);
        assert!(object.contains("m") && !object.contains("n") && !object.is_empty());
        assert!(Object::parse(b"{}").unwrap().is_empty());
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let depth = 1_000_000;
        let text = format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(get(&text, "a").unwrap().len(), 2 * depth);
        assert_eq!(get(&text, "/a/0/0").unwrap().len(), 2 * depth - 4);
    }

    #[test]
    fn anything_but_an_object_is_rejected() {
        for text in [
            "",
            "null",
            "1",
            "[]",
            "[{}]",
            r#""{}""#,
            "{",
            "{}x",
            r#"{"a":}"#,
            "{'a':1}",
        ] {
            assert!(Object::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(Object::parse(b"{\"\xff\":1}").is_err());
    }
}
