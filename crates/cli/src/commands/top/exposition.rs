//! A parser of the Prometheus text exposition format, version 0.0.4. It ignores help and types,
//! which `formline top` knows.

use std::collections::BTreeMap;

/// A sample: the name of a metric, its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// The text is not in the exposition format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct InvalidExposition {
    line: usize,
}

/// Parses all samples.
pub(super) fn parse(text: &str) -> Result<Vec<Sample>, InvalidExposition> {
    let mut samples = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        samples.push(sample(line).ok_or(InvalidExposition { line: number })?);
    }
    Ok(samples)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    // An optional timestamp, which Formline does not write.
    let is_sample = is_name(name) && words.next().is_none_or(|time| time.parse::<i64>().is_ok());
    is_sample.then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn is_name(name: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    !name.is_empty() && name.chars().all(is_legal)
}

/// The labels up to the closing brace, and the rest of the line. The last label may have a trailing
/// comma.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = quoted(behind.trim_start().strip_prefix('"')?)?;
        labels.insert(name.trim().to_owned(), value);
        rest = behind;
    }
}

/// The text up to the closing quote, and the rest of the line.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

// === impl Sample ===

impl Sample {
    /// The value of a label. A missing label is equivalent to an empty one, as in Prometheus.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

// === impl InvalidExposition ===

impl std::fmt::Display for InvalidExposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} is not a metric", self.line)
    }
}

impl std::error::Error for InvalidExposition {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_line_is_parsed() {
        let text = "# HELP up it is\n# TYPE up gauge\n\nup 1\n\
            a:b{} +Inf 1700000000000\n\
            lag{topic=\"a,b}\", reason = \"say \\\"no\\\"\\\\\\n\",} 2.5e3\n";
        let samples = parse(text).expect("an exposition");
        assert_eq!(samples.len(), 3);
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("up", 1.0));
        assert_eq!(
            (samples[1].name.as_str(), samples[1].value),
            ("a:b", f64::INFINITY)
        );
        assert_eq!(samples[2].label("topic"), "a,b}");
        assert_eq!(samples[2].label("reason"), "say \"no\"\\\n");
        assert_eq!((samples[2].label("none"), samples[2].value), ("", 2500.0));
    }

    #[test]
    fn invalid_text_is_rejected_with_its_line() {
        let wrong = [
            "<html>",
            "up",
            "up one",
            "up{a=\"b\" 1",
            "up{a=\"b} 1",
            "up{a} 1",
            "up 1 soon",
            "{} 1",
        ];
        for line in wrong {
            let text = format!("up 1\n{line}");
            let expected = Err(InvalidExposition { line: 2 });
            assert_eq!(parse(&text), expected, "{line}");
        }
    }
}
