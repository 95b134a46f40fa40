//! The source of an added field's value.

use formline_plugin_sdk::prelude::*;
use serde_json::Value;

use crate::template::Template;

/// One way to compute a value. A field is a name, or a JSON pointer if it starts with `/`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceConfig {
    /// The same JSON for every submission.
    Value(Value),
    /// A text with fields in braces: `{name} ({roll})`.
    Template(String),
    /// A text field in upper case.
    UpperOf(String),
    /// A text field in lower case.
    LowerOf(String),
    /// The part of an e-mail address after the `@`, in lower case.
    DomainOf(String),
}

/// A [`SourceConfig`] with all work done that does not depend on the submission.
#[derive(Debug)]
pub(crate) enum Source {
    /// JSON text.
    Value(String),
    Template(Template),
    UpperOf(String),
    LowerOf(String),
    DomainOf(String),
}

// === impl Source ===

impl Source {
    /// # Errors
    /// `bad-template`.
    pub(crate) fn new(config: SourceConfig) -> Result<Self, InitError> {
        Ok(match config {
            SourceConfig::Value(value) => Self::Value(value.to_string()),
            SourceConfig::Template(template) => Self::Template(Template::parse(&template)?),
            SourceConfig::UpperOf(field) => Self::UpperOf(field),
            SourceConfig::LowerOf(field) => Self::LowerOf(field),
            SourceConfig::DomainOf(field) => Self::DomainOf(field),
        })
    }

    /// The value for a submission, as JSON text; `None` if the submission lacks a field that it
    /// needs.
    pub(crate) fn value(&self, submission: &Object) -> Option<String> {
        let text = match self {
            Self::Value(json) => return Some(json.clone()),
            Self::Template(template) => template.render(submission)?,
            Self::UpperOf(field) => submission.text(field)?.to_uppercase(),
            Self::LowerOf(field) => submission.text(field)?.to_lowercase(),
            Self::DomainOf(field) => domain(&submission.text(field)?)?.to_lowercase(),
        };
        Some(serde_json::to_string(&text).expect("a string can always be serialized"))
    }
}

/// The last `@` counts, because a quoted local part may contain one (RFC 5321, section 4.1.2).
fn domain(address: &str) -> Option<&str> {
    let (local, domain) = address.trim().rsplit_once('@')?;
    (!local.is_empty() && !domain.is_empty()).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_follows_the_last_at_sign() {
        assert_eq!(domain("ann@example.org"), Some("example.org"));
        assert_eq!(domain(" \"a@b\"@Bücher.example "), Some("Bücher.example"));
        for address in ["", "@", "ann", "ann@", "@example.org"] {
            assert_eq!(domain(address), None, "{address}");
        }
    }
}
