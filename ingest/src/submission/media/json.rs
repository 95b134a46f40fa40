//! Strict JSON: one value, no duplicate member names, no number that loses digits, a limited number
//! of values, and at most 128 levels of nesting.

use std::{cell::Cell, fmt};

use formline_core::app::schema::Violation;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::refusal::{not_utf8, too_many_values};
use crate::{
    problem::{Problem, ProblemKind},
    submission::json_numbers,
};

/// Parses a body that has at most `limit` values.
pub(super) fn read(body: &[u8], limit: usize) -> Result<Value, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| not_utf8())?;
    let remaining = Cell::new(limit + 1);
    let mut parser = serde_json::Deserializer::from_str(text);
    let seed = CountingSeed {
        remaining: &remaining,
    };
    let value = seed.deserialize(&mut parser).and_then(|value| {
        parser.end()?;
        Ok(value)
    });
    // The parser's message contains line and column, and never quotes the text.
    let value = value.map_err(|error| match remaining.get() {
        0 => too_many_values(limit),
        _ => Problem::new(
            ProblemKind::Malformed,
            format!("the body is not valid JSON: {error}"),
        ),
    })?;
    match json_numbers::first_inexact(text, &value) {
        Some(pointer) => Err(Problem::invalid(vec![inexact(pointer)])),
        None => Ok(value),
    }
}

fn inexact(pointer: String) -> Violation {
    let detail = "the number has more digits than can be stored; send it as a string".to_owned();
    Violation {
        pointer,
        detail,
        keyword: "type".to_owned(),
    }
}

/// Builds a `Value`, counts its parts and rejects duplicate names. The deserializer of `Value`
/// silently keeps the last of two members with the same name, where another parser of the same text
/// may keep the first.
#[derive(Clone, Copy)]
struct CountingSeed<'c> {
    remaining: &'c Cell<usize>,
}

// === impl CountingSeed ===

impl CountingSeed<'_> {
    fn count<E: serde::de::Error>(self) -> Result<(), E> {
        let remaining = self.remaining.get().saturating_sub(1);
        self.remaining.set(remaining);
        if remaining == 0 {
            Err(E::custom("too many values"))
        } else {
            Ok(())
        }
    }
}

impl<'de> DeserializeSeed<'de> for CountingSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CountingSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            self.count()?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.count()?;
            if object
                .insert(name, members.next_value_seed(self)?)
                .is_some()
            {
                return Err(A::Error::custom(
                    "an object has two members with the same name",
                ));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: impl AsRef<[u8]>) -> Option<ProblemKind> {
        read(body.as_ref(), 100).err().map(|problem| problem.kind)
    }

    #[test]
    fn values_keep_their_order_and_all_digits() {
        let text =
            r#"{"z":18446744073709551615,"a":[-9223372036854775808,0.1,1e300],"m":{"ä":"\u00e9"}}"#;
        let value = read(text.as_bytes(), 100).expect("valid JSON");
        assert_eq!(
            value.to_string(),
            text.replace("\\u00e9", "é").replace("1e300", "1e+300")
        );
    }

    #[test]
    fn invalid_json_is_malformed() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in [
            "",
            "{",
            "{} {}",
            "{'a':1}",
            "nul",
            "\"\\ud800\"",
            "1e400",
            r#"{"a":1,"a":2}"#,
            &deep,
        ] {
            assert_eq!(kind(text), Some(ProblemKind::Malformed), "{text}");
        }
        assert_eq!(kind(b"{\"a\":\"\xff\"}"), Some(ProblemKind::Malformed));
    }

    #[test]
    fn too_many_values_and_inexact_numbers_are_invalid() {
        assert_eq!(
            kind(format!("[{}1]", "1,".repeat(100))),
            Some(ProblemKind::Invalid)
        );
        assert_eq!(kind(format!("[{}1]", "1,".repeat(90))), None);
        assert_eq!(kind("[0.1234567890123456789]"), Some(ProblemKind::Invalid));
    }
}
