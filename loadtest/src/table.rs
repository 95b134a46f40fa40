//! A text table with aligned columns: the first column is left-aligned, and the others contain
//! figures and are right-aligned.

use std::fmt;

/// A row of titles, followed by rows of cells.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

// === impl Table ===

impl Table {
    /// A table with these titles and no rows.
    pub(crate) fn new(titles: &[&str]) -> Self {
        Self(vec![titles.iter().map(|&title| title.to_owned()).collect()])
    }

    /// Adds a row with a cell for each title.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in &self.0 {
            for (column, cell) in row.iter().enumerate() {
                match column {
                    0 => write!(f, "  {cell:<width$}", width = width(0))?,
                    _ => write!(f, "  {cell:>width$}", width = width(column))?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["side", "p50 ms"]);
        table.row(["formline".to_owned(), "1.5".to_owned()]);
        table.row(["bare".to_owned(), "1000.25".to_owned()]);
        let text = table.to_string();
        assert_eq!(
            text,
            "  side       p50 ms\n  formline      1.5\n  bare      1000.25\n"
        );
    }
}
