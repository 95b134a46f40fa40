//! Exactness of JSON numbers. They are stored as 64-bit integers or 64-bit floats; a number that
//! would lose digits, such as a long account number, is rejected instead of changed.

use serde_json::Value;

use super::json_pointer::escape;

/// The number tokens of a valid JSON text, in order.
struct NumberTokens<'a> {
    rest: &'a [u8],
}

/// Whether the JSON number `token` keeps all its digits: it is a 64-bit integer, or the nearest
/// float has the same decimal digits. That is true of every float that a program prints in full (15
/// to 17 digits).
pub(crate) fn is_exact(token: &str) -> bool {
    let exponent = token.bytes().any(|byte| matches!(byte, b'e' | b'E'));
    if token.len() <= 15 && !exponent {
        return true;
    }
    if token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok() {
        return true;
    }
    let digits = significant(token);
    match (digits.len(), token.parse::<f64>()) {
        (0, _) => true,
        (count @ 1..=17, Ok(nearest)) => {
            significant(&format!("{nearest:.places$e}", places = count - 1)) == digits
        }
        _ => false,
    }
}

/// The JSON pointer of the first number in a valid JSON text that is not exact. `value` is the
/// parsed text, with members in the order of the text.
pub(crate) fn first_inexact(text: &str, value: &Value) -> Option<String> {
    let index = NumberTokens {
        rest: text.as_bytes(),
    }
    .position(|token| !is_exact(token))?;
    let mut pointers = Vec::new();
    pointers_of_numbers(value, &mut String::from("#"), &mut pointers);
    pointers.into_iter().nth(index)
}

/// The digits without sign, decimal point, exponent, and leading and trailing zeros.
fn significant(token: &str) -> String {
    let mantissa = token.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

// === impl NumberTokens ===

impl<'a> Iterator for NumberTokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut text = self.rest.iter().enumerate();
        let mut in_string = false;
        while let Some((start, byte)) = text.next() {
            match byte {
                b'\\' if in_string => drop(text.next()),
                b'"' => in_string = !in_string,
                b'-' | b'0'..=b'9' if !in_string => {
                    let part = |b: &u8| matches!(b, b'+' | b'-' | b'.' | b'0'..=b'9' | b'e' | b'E');
                    let length = self.rest[start..].iter().take_while(|b| part(b)).count();
                    let (token, rest) = self.rest[start..].split_at(length);
                    self.rest = rest;
                    return std::str::from_utf8(token).ok();
                }
                _ => {}
            }
        }
        None
    }
}

fn pointers_of_numbers(value: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    let mut visit = |segment: &str, inner: &Value| {
        path.push('/');
        path.push_str(&escape(segment));
        pointers_of_numbers(inner, path, found);
        path.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, inner)| visit(name, inner)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, inner)| visit(&n.to_string(), inner));
        }
        Value::Number(_) => found.push(path.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_programs_print_them_are_exact() {
        for token in [
            "0",
            "-0.0",
            "1",
            "1.10",
            "0.1",
            "1e22",
            "1E+2",
            "100000000000000000000000",
            "9007199254740993",
            "18446744073709551615",
            "-9223372036854775808",
            "5e-324",
            "0.30000000000000004",
            "0.10000000000000001",
            "1.7976931348623157e308",
        ] {
            assert!(is_exact(token), "{token}");
        }
    }

    #[test]
    fn numbers_that_would_lose_digits_are_not_exact() {
        for token in [
            "18446744073709551617",
            "12345678901234567890123",
            "0.12345678901234567",
            "3.14159265358979323846",
            "1e-400",
            "1.23456e-320",
        ] {
            assert!(!is_exact(token), "{token}");
        }
    }

    #[test]
    fn the_pointer_names_the_field_and_digits_in_strings_are_ignored() {
        let text =
            r#"{"text":"\"12345678901234567890123","a":[1,{"b/c":12345678901234567890123}]}"#;
        let value = serde_json::from_str(text).expect("valid JSON");
        assert_eq!(first_inexact(text, &value).as_deref(), Some("#/a/1/b~1c"));
    }
}
