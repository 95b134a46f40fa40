//! Which names, versions, headers, codes and timestamps a plug-in may use.

/// Names of one kind (inputs, outputs, stores, counters) that a plug-in may declare.
pub const MAX_NAMES: usize = 64;

/// Bytes of a name, a version or a rejection code. Names become headers and metric labels.
pub const NAME_BYTES: usize = 64;

/// Whether `name` may be declared: 1 to [`NAME_BYTES`] letters, digits, `-`, `_` and `.`.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= NAME_BYTES && name.chars().all(is_allowed)
}

/// Whether `version` may be a plug-in's version, such as `1.2.3` or `1.0.0-rc.1+build`.
pub fn is_version(version: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
    !version.is_empty() && version.len() <= NAME_BYTES && version.chars().all(is_allowed)
}

/// Whether only the host may write the header `name`: `ce_…`, `formline-…`, `dead-letter-…`,
/// `content-type` and `traceparent`.
pub fn is_reserved_header(name: &str) -> bool {
    ["ce_", "formline-", "dead-letter-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || matches!(name, "content-type" | "traceparent")
}

/// Whether a plug-in may set this timestamp, in milliseconds since 1970. Kafka would accept a
/// negative one, but readers could not interpret it.
pub fn is_timestamp(timestamp_ms: i64) -> bool {
    timestamp_ms >= 0
}

/// The code of a dead letter: the plug-in's own code without surrounding white space, cut to
/// [`NAME_BYTES`]; `kind` if that is empty.
pub fn rejection_code<'a>(code: &'a str, kind: &'a str) -> &'a str {
    match code.trim() {
        "" => kind,
        code => &code[..code.floor_char_boundary(NAME_BYTES)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_headers_and_labels_without_escaping() {
        for name in ["a", "keep-some", "A_1.b", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "ä", "a/b", "a\n", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_version("1.0.0-rc.1+build") && !is_version("") && !is_version("1 0"));
    }

    #[test]
    fn headers_of_the_host_are_reserved() {
        for name in [
            "ce_id",
            "formline-x",
            "dead-letter-x",
            "content-type",
            "traceparent",
        ] {
            assert!(is_reserved_header(name), "{name}");
        }
        for name in ["lang", "CE_ID", "content-language", "tracestate", ""] {
            assert!(!is_reserved_header(name), "{name}");
        }
    }

    #[test]
    fn an_empty_code_becomes_the_kind_and_a_long_one_is_cut_between_characters() {
        assert_eq!(rejection_code(" ", "malformed"), "malformed");
        assert_eq!(rejection_code(" no-name ", "other"), "no-name");
        let long = format!("{}ä", "x".repeat(63));
        assert_eq!(rejection_code(&long, "other"), "x".repeat(63));
    }
}
