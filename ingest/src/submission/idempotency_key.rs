//! The `Idempotency-Key` request header.

use axum::http::{HeaderMap, HeaderName};

use crate::problem::{Problem, ProblemKind};

/// The request header.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The syntax of a key as a regular expression, for the OpenAPI description; `parse` implements the
/// same syntax.
pub(crate) const PATTERN: &str =
    r#"^([!#-+\-./0-:<-\[\]-~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")$"#;

/// Maximum length of a key in characters.
const MAX_LENGTH: usize = 255;

/// The key of a request: a quoted string (RFC 8941), as the IETF draft specifies, or the bare text
/// that most clients send. Both forms of one text are the same key.
///
/// # Errors
///
/// 400 if the key is not valid, or if the header occurs more than once.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(parse);
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(Problem::new(
            ProblemKind::BadIdempotencyKey,
            "send one key of 1 to 255 printable ASCII characters, bare or as a quoted string",
        )),
    }
}

fn parse(text: &str) -> Option<String> {
    let quoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let key = match quoted {
        Some(inner) => unescape(inner)?,
        None if text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)) =>
        {
            text.to_owned()
        }
        None => return None,
    };
    (1..=MAX_LENGTH).contains(&key.len()).then_some(key)
}

/// The content of a quoted string, whose only escapes are `\"` and `\\`.
fn unescape(inner: &str) -> Option<String> {
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        key.push(match c {
            '\\' => characters
                .next()
                .filter(|next| matches!(next, '"' | '\\'))?,
            ' '..='~' if c != '"' => c,
            _ => return None,
        });
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_be_quoted_or_bare() {
        assert_eq!(parse("8e03978e-40d5"), Some("8e03978e-40d5".to_owned()));
        assert_eq!(parse(r#""a \"b\" \\ c""#), Some(r#"a "b" \ c"#.to_owned()));
        for wrong in [
            "",
            "\"\"",
            "\"",
            "a b",
            "a,b",
            "a;b",
            "a\"",
            r#""a\b""#,
            "ä",
            &"x".repeat(256),
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_pattern_and_the_parser_accept_the_same_keys() {
        let schema = serde_json::json!({ "type": "string", "pattern": PATTERN });
        let schema = formline_core::app::schema::Schema::compile(schema).expect("a valid schema");
        let long = "x".repeat(256);
        let mut samples: Vec<String> = (' '..='~')
            .flat_map(|c| [format!("a{c}"), format!("\"a{c}\"")])
            .collect();
        samples.extend(
            [
                "",
                "\"\"",
                "\"\\\"\"",
                "\"\\\\\"",
                &long,
                &format!("\"{long}\""),
            ]
            .map(str::to_owned),
        );
        for sample in samples {
            let matches = schema.is_valid(&sample.as_str().into());
            assert_eq!(matches, parse(&sample).is_some(), "{sample}");
        }
    }
}
