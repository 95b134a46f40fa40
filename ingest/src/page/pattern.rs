//! Translates the `pattern` of a JSON Schema to the `pattern` attribute of HTML.

/// The attribute's value for a pattern of a JSON Schema. Browsers ignore a pattern that they cannot
/// compile because of differences in dialect; ingest then validates the value alone.
pub(super) fn attribute(pattern: &str) -> String {
    // In JSON Schema, a pattern may match anywhere in the text. In HTML, it must match the whole
    // text.
    format!(r"[\s\S]*(?:{})[\s\S]*", escape_classes(pattern))
}

/// Escapes literal characters in character classes. JSON Schema uses regular expressions with the
/// flag `u`, but browsers compile with the flag `v`, which gives a meaning to brackets, some
/// doubled characters and each hyphen inside of `[]`.
fn escape_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(start) = next_class(rest) {
        let (before, class) = rest.split_at(start);
        out.push_str(before);
        rest = escape_class(class, &mut out);
    }
    out + rest
}

/// The position of the next class, after its `[` and `^`.
fn next_class(pattern: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in pattern.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => return Some(at + 1 + usize::from(pattern[at + 1..].starts_with('^'))),
            _ => {}
        }
    }
    None
}

/// Writes the members of a class, and returns the rest of the pattern.
fn escape_class<'a>(class: &'a str, out: &mut String) -> &'a str {
    // Whether a hyphen would start the second half of a range now, and whether the previous member
    // did.
    let (mut may_range, mut in_range) = (false, false);
    let mut rest = class;
    while !rest.is_empty() && !rest.starts_with(']') {
        let (member, after) = rest.split_at(member_length(rest));
        if member == "-" && may_range && !after.starts_with(']') {
            out.push('-');
            (may_range, in_range) = (false, true);
        } else {
            if matches!(member, "-" | "(" | ")" | "[" | "{" | "}" | "/" | "|")
                || (is_reserved_if_doubled(member)
                    && (after.starts_with(member) || out.ends_with(member)))
            {
                out.push('\\');
            }
            out.push_str(member);
            (may_range, in_range) = (!in_range, false);
        }
        rest = after;
    }
    rest
}

/// The length of the first member: one character, or one escape with its braces.
fn member_length(class: &str) -> usize {
    let mut characters = class.char_indices();
    let is_escape = characters.next().is_some_and(|(_, first)| first == '\\');
    if !is_escape {
        return characters.next().map_or(class.len(), |(at, _)| at);
    }
    let has_braces = ["\\u{", "\\p{", "\\P{"]
        .iter()
        .any(|braced| class.starts_with(braced));
    match class.find('}') {
        Some(end) if has_braces => end + 1,
        _ => characters.nth(1).map_or(class.len(), |(at, _)| at),
    }
}

/// Whether the flag `v` gives a meaning to the character if it is doubled.
fn is_reserved_if_doubled(member: &str) -> bool {
    const DOUBLED: &str = "&!#$%*+,.:;<=>?@^`~";
    DOUBLED.contains(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_match_anywhere_in_the_text() {
        assert_eq!(attribute("^[0-9]+$"), r"[\s\S]*(?:^[0-9]+$)[\s\S]*");
    }

    #[test]
    fn literal_characters_in_a_class_are_escaped() {
        for (pattern, expected) in [
            ("^[A-Za-z0-9-]{1,32}$", r"^[A-Za-z0-9\-]{1,32}$"),
            ("[-a][^-a]", r"[\-a][^\-a]"),
            ("[a-z-9]", r"[a-z\-9]"),
            (r"[\u{30}-\u{39}-]", r"[\u{30}-\u{39}\-]"),
            (r"[(){}/|[]", r"[\(\)\{\}\/\|\[]"),
            ("[&&a&]", r"[\&\&a&]"),
            (r"\[a-]", r"\[a-]"),
            (r"[\]-]", r"[\]\-]"),
            (r"(a|b)/{2}-\d", r"(a|b)/{2}-\d"),
            (r"[ä-ü]\w[\w.]", r"[ä-ü]\w[\w.]"),
            ("[a", "[a"),
        ] {
            assert_eq!(escape_classes(pattern), expected, "{pattern}");
        }
    }
}
