//! Parses and writes A1 notation: `Sheet1!A2:C`, `'My tab'!A:C`, `A1`, `3:7`, `Sheet1`. It does not
//! know the tabs and their grids; the code that uses a range checks them.

use std::ops::Range;

/// The number of rows in Google's longest grid, which has 10 million cells in one column.
const MAX_ROW: u32 = 10_000_000;

/// A half-open interval of rows or columns, counted from 0. Without an end, it extends to the end
/// of the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: Option<u32>,
}

/// A rectangle of cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) rows: Span,
    pub(crate) columns: Span,
}

/// A parsed range, which may name its tab.
#[derive(Debug, PartialEq)]
pub(crate) struct Reference {
    /// The name of the tab. Without cells, it may also be the name of a named range. `None` means
    /// the first tab.
    pub(crate) name: Option<String>,
    /// The cells; `None` means all cells.
    pub(crate) area: Option<Area>,
}

// === impl Span ===

impl Span {
    pub(crate) const ALL: Self = Self {
        start: 0,
        end: None,
    };

    /// The part inside a grid of `size`; `None` if the span starts after the end of the grid.
    pub(crate) fn within(self, size: u32) -> Option<Range<u32>> {
        (self.start < size).then(|| self.start..self.end.unwrap_or(size).min(size))
    }
}

// === impl Area ===

impl Area {
    pub(crate) const ALL: Self = Self {
        rows: Span::ALL,
        columns: Span::ALL,
    };

    /// Whether the area is exactly one cell.
    pub(crate) fn is_cell(&self) -> bool {
        let one = |span: Span| span.end.is_some() && span.end == span.start.checked_add(1);
        one(self.rows) && one(self.columns)
    }
}

// === impl Reference ===

impl Reference {
    /// Parses a range; `None` if it is not in A1 notation.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(quoted) = text.strip_prefix('\'') {
            let (name, rest) = unquote(quoted)?;
            return match rest.strip_prefix('!') {
                Some(cells) => Some(Self {
                    name: Some(name),
                    area: Some(parse_area(cells)?),
                }),
                None => rest.is_empty().then_some(Self {
                    name: Some(name),
                    area: None,
                }),
            };
        }
        if let Some((name, cells)) = text.rsplit_once('!') {
            let area = Some(parse_area(cells)?);
            return (!name.is_empty()).then(|| Self {
                name: Some(name.to_owned()),
                area,
            });
        }
        match parse_area(text) {
            Some(area) => Some(Self {
                name: None,
                area: Some(area),
            }),
            None => (!text.is_empty()).then(|| Self {
                name: Some(text.to_owned()),
                area: None,
            }),
        }
    }
}

/// Parses a quoted tab name, in which `''` means `'`, and returns the name and the rest of the
/// text.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'')?;
        name.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                name.push('\'');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// One corner: a column, a row, or both, counted from 0.
type Corner = (Option<u32>, Option<u32>);

fn parse_area(text: &str) -> Option<Area> {
    let Some((first, last)) = text.split_once(':') else {
        return match parse_corner(text)? {
            (Some(column), Some(row)) => {
                Some(area((Some(column), Some(row)), (Some(column), Some(row))))
            }
            _ => None,
        };
    };
    let (first, last) = (parse_corner(first)?, parse_corner(last)?);
    // Both corners need a column, or both need a row: `A:3` is not a range.
    let is_valid =
        (first.0.is_some() && last.0.is_some()) || (first.1.is_some() && last.1.is_some());
    is_valid.then(|| area(first, last))
}

fn area(first: Corner, last: Corner) -> Area {
    Area {
        rows: span(first.1, last.1),
        columns: span(first.0, last.0),
    }
}

/// Accepts the corners in any order; a missing one makes that side open.
fn span(first: Option<u32>, last: Option<u32>) -> Span {
    match (first, last) {
        (Some(a), Some(b)) => Span {
            start: a.min(b),
            end: Some(a.max(b) + 1),
        },
        (Some(start), None) | (None, Some(start)) => Span { start, end: None },
        (None, None) => Span::ALL,
    }
}

fn parse_corner(text: &str) -> Option<Corner> {
    let digits = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (letters, digits) = text.split_at(digits);
    let column = if letters.is_empty() {
        None
    } else {
        Some(parse_column(letters)?)
    };
    let row = if digits.is_empty() {
        None
    } else {
        Some(parse_row(digits)?)
    };
    (column.is_some() || row.is_some()).then_some((column, row))
}

fn parse_column(letters: &str) -> Option<u32> {
    let digit = |letter: u8| u32::from(letter.to_ascii_uppercase() - b'A') + 1;
    (letters.len() <= 3).then(|| letters.bytes().fold(0, |n, letter| n * 26 + digit(letter)) - 1)
}

fn parse_row(digits: &str) -> Option<u32> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    let row: u32 = all_digits.then(|| digits.parse().ok())??;
    (1..=MAX_ROW).contains(&row).then(|| row - 1)
}

/// The letters of a column counted from 0: `A`, `Z`, `AA`.
pub(crate) fn column_letters(column: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = column + 1;
    while rest > 0 {
        let digit = u8::try_from((rest - 1) % 26).expect("a remainder below 26 fits into a byte");
        letters.push(char::from(b'A' + digit));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

/// Writes a range like Google: `Sheet1!A1:B2`, `'My tab'!A1`.
pub(crate) fn write(title: &str, rows: &Range<u32>, columns: &Range<u32>) -> String {
    let cell = |row: u32, column: u32| format!("{}{}", column_letters(column), row + 1);
    let first = cell(rows.start, columns.start);
    // An empty range is written as its first cell.
    let last = cell(
        rows.end.max(rows.start + 1) - 1,
        columns.end.max(columns.start + 1) - 1,
    );
    let title = quote(title);
    if first == last {
        format!("{title}!{first}")
    } else {
        format!("{title}!{first}:{last}")
    }
}

fn quote(title: &str) -> String {
    let plain = title.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !title.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        title.to_owned()
    } else {
        format!("'{}'", title.replace('\'', "''"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn cells(text: &str) -> (u32, Option<u32>, u32, Option<u32>) {
        let Area { rows, columns } = Reference::parse(text).unwrap().area.unwrap();
        (rows.start, rows.end, columns.start, columns.end)
    }

    #[test]
    fn parses_every_form() {
        assert_eq!(cells("A1"), (0, Some(1), 0, Some(1)));
        assert_eq!(cells("Sheet1!B2:C4"), (1, Some(4), 1, Some(3)));
        assert_eq!(cells("C4:B2"), (1, Some(4), 1, Some(3)));
        assert_eq!(cells("A:C"), (0, None, 0, Some(3)));
        assert_eq!(cells("A2:C"), (1, None, 0, Some(3)));
        assert_eq!(cells("3:7"), (2, Some(7), 0, None));
        assert_eq!(
            cells("ZZZ10000000"),
            (9_999_999, Some(10_000_000), 18_277, Some(18_278))
        );
        assert_eq!(cells("'it''s ! here'!a1"), (0, Some(1), 0, Some(1)));
    }

    #[test]
    fn a_name_alone_is_a_tab() {
        for (text, name) in [
            ("Sheet1", "Sheet1"),
            ("'A1'", "A1"),
            ("AB", "AB"),
            ("Größe 1", "Größe 1"),
        ] {
            let reference = Reference {
                name: Some(name.to_owned()),
                area: None,
            };
            assert_eq!(Reference::parse(text), Some(reference));
        }
    }

    #[test]
    fn rejects_invalid_ranges() {
        for text in [
            "",
            "'open",
            "'a'b",
            "!A1",
            "Sheet1!",
            "Sheet1!A",
            "S!A0",
            "S!A:3",
            "S!A10000001",
            "S!AAAA1",
            "S!A1:",
            "S!ä1",
            "S!A99999999999",
            "S!A1:B2:C3",
        ] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn column_letters_round_trip() {
        for column in [0, 25, 26, 51, 52, 701, 702, 18_277] {
            assert_eq!(parse_column(&column_letters(column)), Some(column));
        }
        assert_eq!(write("Sheet1", &(0..2), &(0..28)), "Sheet1!A1:AB2");
        assert_eq!(write("it's", &(0..1), &(0..1)), "'it''s'!A1");
        assert_eq!(write("2026", &(0..1), &(0..1)), "'2026'!A1");
    }
}
