//! Formats paths and numbers for the pages.

/// The path of a page, percent-encoded so that any title fits into one segment.
pub(super) fn path(id: &str, tab: Option<&str>) -> String {
    let mut path = format!("/spreadsheets/{id}");
    let Some(title) = tab else { return path };
    path.push('/');
    for byte in title.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// A number with its noun, in the plural unless it is 1.
pub(super) fn count(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// A number with thousands separators, for instance `1,234,567`.
pub(super) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are UTF-8"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_title_fits_into_one_segment() {
        assert_eq!(path("a-b", None), "/spreadsheets/a-b");
        assert_eq!(
            path("a-b", Some("Responses")),
            "/spreadsheets/a-b/Responses"
        );
        assert_eq!(
            path("x", Some("a/b ?#ä.")),
            "/spreadsheets/x/a%2Fb%20%3F%23%C3%A4%2E"
        );
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(999, "row"), "999 rows");
        assert_eq!(count(1_234_567, "row"), "1,234,567 rows");
    }
}
