//! `application/x-www-form-urlencoded` (WHATWG URL, 5), except that invalid UTF-8 is an error and
//! not replaced.

use percent_encoding::percent_decode;

use super::refusal::{not_utf8, too_many_values};
use crate::problem::Problem;

/// Returns names and values in the order of the body, at most `limit` pairs.
pub(crate) fn pairs(body: &[u8], limit: usize) -> Result<Vec<(String, String)>, Problem> {
    let parts = body
        .split(|byte| *byte == b'&')
        .filter(|part| !part.is_empty());
    let mut pairs = Vec::new();
    for part in parts {
        if pairs.len() == limit {
            return Err(too_many_values(limit));
        }
        let end = part
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(part.len());
        let value = part.get(end + 1..).unwrap_or_default();
        pairs.push((decode(&part[..end])?, decode(value)?));
    }
    Ok(pairs)
}

fn decode(encoded: &[u8]) -> Result<String, Problem> {
    let spaced: Vec<u8> = encoded
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded = percent_decode(&spaced)
        .decode_utf8()
        .map_err(|_| not_utf8())?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let found = pairs(b"name=J%C3%BCrgen+%2B&empty=&flag&&a=b=c", 10).expect("a valid body");
        let expected = [
            ("name", "Jürgen +"),
            ("empty", ""),
            ("flag", ""),
            ("a", "b=c"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn invalid_utf8_and_too_many_pairs_are_rejected() {
        assert!(pairs(b"a=%ff", 10).is_err());
        assert!(pairs(b"\xff=a", 10).is_err());
        assert!(pairs(b"a&b&c", 2).is_err());
    }
}
