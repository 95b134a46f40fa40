//! Compares the output of a block with the lines that the document shows.

/// Matches any text within a line, and alone on a line any lines.
const ANYTHING: char = '…';

/// Every expected line must occur in the output, in the same order; other lines may come between.
/// White space counts as one space. Returns the first line that is missing.
pub(crate) fn missing<'a>(expected: &'a str, output: &str) -> Option<&'a str> {
    let mut output = output.lines().map(squeeze);
    let wanted = expected.lines().map(str::trim);
    let mut wanted = wanted.filter(|line| !line.is_empty());
    wanted.find(|line| {
        let parts: Vec<String> = line.split(ANYTHING).map(squeeze).collect();
        let is_open = parts.iter().all(String::is_empty);
        !is_open && !output.any(|found| has_in_order(&found, &parts))
    })
}

fn has_in_order(line: &str, parts: &[String]) -> bool {
    let mut rest = line;
    parts
        .iter()
        .all(|part| match rest.split_once(part.as_str()) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => part.is_empty(),
        })
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str =
        "{\"id\":\"019a\",\"status\":\"accepted\"}\nsink  accepted\ndemo/sheet     1\n";

    #[test]
    fn lines_come_in_order_with_anything_between() {
        for expected in [
            "\"status\":\"accepted\"",
            "{\"id\":\"…\",\"status\":\"accepted\"}\n…\ndemo/sheet 1",
            "sink accepted\n\ndemo/sheet 1",
        ] {
            assert_eq!(missing(expected, OUTPUT), None, "{expected}");
        }
    }

    #[test]
    fn the_first_missing_line_is_named() {
        assert_eq!(
            missing("demo/sheet 1\nsink accepted", OUTPUT),
            Some("sink accepted")
        );
        assert_eq!(
            missing("\"status\":…\"id\":", OUTPUT),
            Some("\"status\":…\"id\":")
        );
        assert_eq!(missing("demo/sheet 2", OUTPUT), Some("demo/sheet 2"));
    }
}
