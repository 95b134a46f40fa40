//! The aims for the figures. Missing an aim is no failure, because other load on the machine
//! affects the figures.

use std::fmt;

use serde::Serialize;

use crate::table::Table;

/// A bound and the measured figure.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Aim {
    what: String,
    #[serde(flatten)]
    bound: Bound,
    got: f64,
}

/// An upper or lower bound.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// All aims of a run, as a table.
pub(super) struct Aims<'a>(pub(super) &'a [Aim]);

// === impl Aim ===

impl Aim {
    /// An aim that the figure is at most `most`.
    pub(super) fn at_most(what: String, most: f64, got: f64) -> Self {
        let bound = Bound::AtMost(most);
        Self { what, bound, got }
    }

    /// An aim that the figure is at least `least`.
    pub(super) fn at_least(what: String, least: f64, got: f64) -> Self {
        let bound = Bound::AtLeast(least);
        Self { what, bound, got }
    }

    /// Whether the figure is within the bound; a missing figure (NaN) is not.
    pub(super) fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.got <= most,
            Bound::AtLeast(least) => self.got >= least,
        }
    }
}

impl fmt::Display for Aims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["aim", "should be", "is", ""]);
        for aim in self.0 {
            let bound = match aim.bound {
                Bound::AtMost(most) => format!("<= {most:.2}"),
                Bound::AtLeast(least) => format!(">= {least:.2}"),
            };
            let verdict = if aim.is_met() { "met" } else { "missed" };
            let got = format!("{:.2}", aim.got);
            table.row([aim.what.clone(), bound, got, verdict.to_owned()]);
        }
        writeln!(f, "aims")?;
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_compared_with_their_bound_and_nan_meets_none() {
        let aims = [
            Aim::at_most("a".to_owned(), 1.1, 1.1),
            Aim::at_most("b".to_owned(), 1.1, 1.2),
            Aim::at_least("c".to_owned(), 0.5, 0.6),
            Aim::at_least("d".to_owned(), 0.5, f64::NAN),
        ];
        let text = Aims(&aims).to_string();
        let verdicts: Vec<_> = text.lines().skip(2).map(str::trim_end).collect();
        for (line, verdict) in verdicts.iter().zip([" met", " missed", " met", " missed"]) {
            assert!(line.ends_with(verdict), "{text}");
        }
        let json = serde_json::to_value(&aims[0]).expect("an aim serializes");
        assert_eq!(json["at_most"], 1.1);
    }
}
