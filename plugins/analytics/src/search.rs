//! Finds slang in the strings of a submission, at any depth.

use formline_plugin_sdk::{Object, Reject};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::slang::Slang;

/// The nesting depth that is searched. Deeper submissions are attacks rather than form data: each
/// level has to be read once more than the enclosing one.
const MAX_DEPTH: usize = 32;

/// An entry of the slang list, and the field that contains it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Match<'a> {
    /// A JSON pointer.
    field: String,
    word: &'a str,
}

/// Searches all strings of a submission, or those of some fields.
///
/// # Errors
/// `too-deep` beyond 32 levels, `malformed-json` for a string with an unpaired surrogate.
pub(crate) fn search<'a>(
    slang: &'a Slang,
    fields: Option<&[String]>,
    submission: &Object,
) -> Result<Vec<Match<'a>>, Reject> {
    let mut search = Search {
        slang,
        matches: Vec::new(),
    };
    if slang.is_empty() {
        return Ok(search.matches);
    }
    match fields {
        None => search.object("", submission, MAX_DEPTH)?,
        Some(fields) => {
            for field in fields {
                if let Some(value) = submission.get(field) {
                    search.value(&pointer_to(field), value, MAX_DEPTH)?;
                }
            }
        }
    }
    Ok(search.matches)
}

struct Search<'a> {
    slang: &'a Slang,
    matches: Vec<Match<'a>>,
}

// === impl Search ===

impl Search<'_> {
    fn value(&mut self, field: &str, value: &RawValue, depth: usize) -> Result<(), Reject> {
        match value.get().as_bytes().first() {
            Some(b'"') => self.text(field, &parsed::<String>(value)?),
            Some(b'{') => return self.object(field, &parsed(value)?, shallower(depth)?),
            Some(b'[') => return self.array(field, &parsed::<Vec<_>>(value)?, shallower(depth)?),
            _ => {}
        }
        Ok(())
    }

    fn object(&mut self, field: &str, object: &Object, depth: usize) -> Result<(), Reject> {
        object
            .iter()
            .try_for_each(|(name, value)| self.value(&child(field, name), value, depth))
    }

    fn array(&mut self, field: &str, items: &[&RawValue], depth: usize) -> Result<(), Reject> {
        let mut items = items.iter().enumerate();
        items.try_for_each(|(index, value)| self.value(&format!("{field}/{index}"), value, depth))
    }

    fn text(&mut self, field: &str, text: &str) {
        let found = self.slang.find(text).into_iter();
        self.matches.extend(found.map(|word| Match {
            field: field.to_owned(),
            word,
        }));
    }
}

fn shallower(depth: usize) -> Result<usize, Reject> {
    depth.checked_sub(1).ok_or_else(|| {
        let detail = format!("the submission is nested deeper than {MAX_DEPTH} levels");
        Reject::malformed("too-deep", detail)
    })
}

fn parsed<'a, T: serde::Deserialize<'a>>(value: &'a RawValue) -> Result<T, Reject> {
    serde_json::from_str(value.get()).map_err(|_| {
        Reject::malformed(
            "malformed-json",
            "a string in the value is not valid Unicode",
        )
    })
}

fn pointer_to(field: &str) -> String {
    if field.starts_with('/') {
        field.to_owned()
    } else {
        child("", field)
    }
}

/// Appends a reference token (RFC 6901, section 3).
fn child(field: &str, name: &str) -> String {
    format!("{field}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn searched(
        fields: Option<&[String]>,
        submission: &str,
    ) -> Result<Vec<(String, String)>, Reject> {
        let slang = Slang::new(vec!["dang".to_owned(), "heck".to_owned()]).unwrap();
        let submission = Object::parse(submission.as_bytes()).unwrap();
        let matches = search(&slang, fields, &submission)?.into_iter();
        Ok(matches
            .map(|found| (found.field, found.word.to_owned()))
            .collect())
    }

    fn fields(fields: Option<&[String]>, submission: &str) -> Vec<String> {
        let matches = searched(fields, submission).unwrap().into_iter();
        matches.map(|(field, _)| field).collect()
    }

    #[test]
    fn matches_have_pointers_and_keep_their_order_at_any_depth() {
        let submission =
            r#"{"z":"Dang, heck","a":{"b/c":["x",{"~":"heck"}]},"n":1e999,"dang":true,"":"dang"}"#;
        let expected = [
            ("/z", "dang"),
            ("/z", "heck"),
            ("/a/b~1c/1/~0", "heck"),
            ("/", "dang"),
        ];
        let expected = expected.map(|(field, word)| (field.to_owned(), word.to_owned()));
        assert_eq!(searched(None, submission).unwrap(), expected);
    }

    #[test]
    fn only_the_named_fields_are_searched() {
        let submission = r#"{"a":"dang","b":{"c":"dang","d":"dang"},"e/f":"dang","g":"dang"}"#;
        let named = ["b", "/b/d", "e/f", "nowhere", "/g"].map(str::to_owned);
        assert_eq!(
            fields(Some(&named), submission),
            ["/b/c", "/b/d", "/b/d", "/e~1f", "/g"]
        );
        assert!(fields(Some(&[]), submission).is_empty());
    }

    #[test]
    fn escapes_are_decoded_before_the_comparison() {
        assert_eq!(fields(None, r#"{"\u0061":"d\u0061ng\n"}"#), ["/a"]);
    }

    #[test]
    fn nesting_beyond_the_limit_is_rejected_without_a_trap() {
        let nested = |depth| {
            format!(
                r#"{{"a":{}"dang"{}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert_eq!(fields(None, &nested(MAX_DEPTH)).len(), 1);
        for depth in [MAX_DEPTH + 1, 50_000] {
            let Err(Reject::DeadLetter { code, .. }) = searched(None, &nested(depth)) else {
                unreachable!("a submission of {depth} levels should be rejected");
            };
            assert_eq!(code, "too-deep");
        }
    }

    #[test]
    fn an_unpaired_surrogate_is_rejected() {
        let why = searched(None, r#"{"a":"\ud800"}"#).unwrap_err();
        let detail = "a string in the value is not valid Unicode";
        assert_eq!(why, Reject::malformed("malformed-json", detail));
    }
}
