//! A JSON Schema's `pattern` as the `pattern` attribute of HTML takes it.

/// The attribute's value for a pattern of a JSON Schema. A pattern that a browser cannot read all the same (it has its
/// own dialect) is not regarded by it, and only checked here.
pub(super) fn attribute(pattern: &str) -> String {
    // JSON Schema finds a pattern anywhere in the text, HTML holds the whole text against it.
    format!(r"[\s\S]*(?:{})[\s\S]*", with_sets(pattern))
}

/// Browsers compile with the flag `v`, JSON Schema means `u`. Inside of `[]`, `v` gives a meaning to brackets, to some
/// doubled characters and to every hyphen; those that stand for themselves are escaped here.
fn with_sets(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(start) = next_class(rest) {
        let (before, class) = rest.split_at(start);
        out.push_str(before);
        rest = class_members(class, &mut out);
    }
    out + rest
}

/// Where the next class begins; behind its `[` and `^`.
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

/// Writes the members of a class, and returns what follows them.
fn class_members<'a>(class: &'a str, out: &mut String) -> &'a str {
    // Whether a hyphen would now begin the second half of a range, and whether one just has.
    let (mut may_range, mut in_range) = (false, false);
    let mut rest = class;
    while !rest.is_empty() && !rest.starts_with(']') {
        let (member, behind) = rest.split_at(member_length(rest));
        if member == "-" && may_range && !behind.starts_with(']') {
            out.push('-');
            (may_range, in_range) = (false, true);
        } else {
            if matches!(member, "-" | "(" | ")" | "[" | "{" | "}" | "/" | "|")
                || (is_doubled(member) && (behind.starts_with(member) || out.ends_with(member)))
            {
                out.push('\\');
            }
            out.push_str(member);
            (may_range, in_range) = (!in_range, false);
        }
        rest = behind;
    }
    rest
}

/// One character, or one escape with its braces.
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

fn is_doubled(member: &str) -> bool {
    const DOUBLED: &str = "&!#$%*+,.:;<=>?@^`~";
    DOUBLED.contains(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_match_anywhere() {
        assert_eq!(attribute("^[0-9]+$"), r"[\s\S]*(?:^[0-9]+$)[\s\S]*");
    }

    #[test]
    fn what_stands_for_itself_in_a_class_is_escaped() {
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
            assert_eq!(with_sets(pattern), expected, "{pattern}");
        }
    }
}
