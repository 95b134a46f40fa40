//! One atomic write: rows and the mark that says so, and how to tell what became of it.

use std::time::Duration;

use super::{
    mark::{self, Entry, Found, KEEP_MS, Known, Mark},
    request::FIXED,
    row::Row,
};

/// A write that either happens as a whole or not at all, and at most once however often it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Metadata id of the new mark.
    pub(crate) id: i32,
    pub(crate) mark: Mark,
    /// The new mark as text.
    pub(crate) value: String,
    pub(crate) follows: Follows,
    /// Headings of columns that are new, which stand at the end of `mark.columns`.
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Line>,
    /// Appends a blank row, which leaves nothing behind: does the sheet take rows at all?
    pub(crate) probe: bool,
}

/// What must be there for the batch to make sense.
#[expect(clippy::large_enum_variant, reason = "a sink has one at a time")]
#[derive(Clone, Debug)]
pub(crate) enum Follows {
    /// No tab yet; one with this title is created.
    Nothing {
        title: String,
    },
    Mark(Known),
}

/// A row as it will stand in the sheet.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) row: Row,
    /// Whether a later submission stands above it.
    pub(crate) late: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The sheet holds it.
    Written,
    /// It was not written and never will be: Google does not take this batch.
    Refused(String),
    /// Another batch was written in its place, by another owner or by a former life of this one.
    Overtaken,
    /// The tab that it was for is not there any more, or its columns are not where they were.
    Gone,
}

/// What to do about a batch whose answer is in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    End(Verdict),
    /// It was not written as far as can be seen, and can still be: send the same again.
    Resend,
}

// === impl Batch ===

impl Batch {
    /// The batch that creates a sink's tab. None if the spreadsheet has no room for the marks of another tab.
    pub(crate) fn creating(mark: Mark, title: &str, entries: &[Entry]) -> Option<Self> {
        Some(Self {
            id: mark::first_id(entries)?,
            value: mark.to_json(),
            mark,
            follows: Follows::Nothing {
                title: title.to_owned(),
            },
            headings: Vec::new(),
            rows: Vec::new(),
            probe: false,
        })
    }

    /// The mark before this one, which is to be stripped: its id, and what is left of it. That is the second in
    /// which this batch was made: by then the mark had been applied, while it may have been made long before.
    pub(crate) fn stripped(&self) -> Option<(i32, String)> {
        let Follows::Mark(known) = &self.follows else {
            return None;
        };
        Some((known.id, (self.mark.at / 1000 + 1).to_string()))
    }

    /// Marks that no request under way can be built on any more.
    pub(crate) fn expired(&self) -> impl Iterator<Item = i32> {
        let before = self.mark.at - KEEP_MS;
        self.older()
            .iter()
            .filter(move |(_, at)| *at < before)
            .map(|(id, _)| *id)
    }

    /// What is known once the batch is written.
    pub(crate) fn into_known(self, read_ms: i64) -> (Known, Vec<Line>) {
        let before = self.mark.at - KEEP_MS;
        let mut older: Vec<_> = self.older().to_vec();
        let cells = self.cells();
        older.retain(|(_, at)| *at >= before);
        if let Follows::Mark(known) = &self.follows {
            older.push((known.id, self.mark.at));
        }
        (
            Known {
                id: self.id,
                mark: self.mark,
                read_ms,
                older,
                cells,
            },
            self.rows,
        )
    }

    /// Cells of the spreadsheet behind it: a row has all columns, and a column all rows.
    fn cells(&self) -> u64 {
        let before = match &self.follows {
            Follows::Mark(known) => known.cells,
            Follows::Nothing { .. } => 0,
        };
        let rows = self.rows.len() * (FIXED.len() + self.mark.columns.len());
        let columns = (self.mark.rows + 1) * self.headings.len() as u64;
        before + rows as u64 + columns
    }

    fn older(&self) -> &[(i32, i64)] {
        match &self.follows {
            Follows::Mark(known) => &known.older,
            Follows::Nothing { .. } => &[],
        }
    }

    /// Whether the batch may be sent at `now_ms` without looking at the marks first. That of a new tab always may:
    /// Google also refuses a second tab of the same id.
    pub(crate) fn is_fresh(&self, now_ms: i64) -> bool {
        match &self.follows {
            Follows::Mark(known) => known.is_fresh(now_ms),
            Follows::Nothing { .. } => true,
        }
    }

    /// The mark before it; none if it creates the tab.
    pub(crate) fn before(&self) -> Option<&Mark> {
        match &self.follows {
            Follows::Mark(known) => Some(&known.mark),
            Follows::Nothing { .. } => None,
        }
    }

    /// How long the tab must be left alone before the batch is sent.
    pub(crate) fn pause(&self, now_ms: i64) -> Duration {
        let pause_ms = match &self.follows {
            Follows::Mark(known) => known.pause_ms(self.mark.at, now_ms),
            Follows::Nothing { .. } => 0,
        };
        Duration::from_millis(pause_ms.unsigned_abs())
    }

    /// Notes that the mark before it was still the newest one at `read_ms`.
    pub(crate) fn confirm(&mut self, read_ms: i64) {
        if let Follows::Mark(known) = &mut self.follows {
            known.read_ms = read_ms;
        }
    }

    /// What became of the batch, by the marks that are there after an answer: a definite `refusal`, or none that
    /// settles it.
    pub(crate) fn judge(&self, entries: &[Entry], refusal: Option<&str>) -> Next {
        let found = Found::among(entries, &self.mark.sink, &self.mark.spreadsheet, 0);
        let unmoved = match (&self.follows, &found) {
            (_, Found::Known(newest))
                if newest.id == self.id && newest.mark.to_json() == self.value =>
            {
                return Next::End(Verdict::Written);
            }
            (Follows::Mark(_), Found::Nothing) => return Next::End(Verdict::Gone),
            (Follows::Mark(known), Found::Known(newest)) => known.id == newest.id,
            (Follows::Nothing { .. }, Found::Nothing) => true,
            _ => false,
        };
        match refusal {
            _ if !unmoved => Next::End(Verdict::Overtaken),
            Some(why) => Next::End(Verdict::Refused(why.to_owned())),
            None => Next::Resend,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use crate::sheets::mark::{KEY, MAX_BYTES};

    /// The batch behind `known`, as it is made at `at`.
    fn behind(known: &Known, at: i64) -> Batch {
        Batch {
            id: known.next_id().expect("far from the last"),
            value: "x".repeat(MAX_BYTES),
            mark: Mark {
                at,
                ..known.mark.clone()
            },
            follows: Follows::Mark(known.clone()),
            headings: Vec::new(),
            rows: Vec::new(),
            probe: false,
        }
    }

    /// Characters of metadata that a tab has at most while it is written for an hour, every `every_ms` if it may be, and
    /// how often it was written.
    fn fill(every_ms: i64) -> (usize, i32) {
        let begin = 1_700_000_000_000;
        let (mut now, mut most) = (begin, 0);
        let mut known = Known {
            id: 1,
            mark: Mark::default(),
            read_ms: now,
            older: Vec::new(),
            cells: 0,
        };
        while now < begin + 3_600_000 && most <= 30_000 {
            let batch = behind(&known, now);
            now += i64::try_from(batch.pause(now).as_millis()).unwrap_or(i64::MAX);
            let sent_ms = now;
            known = batch.into_known(sent_ms).0;
            let old = known.older.len() * (KEY.len() + 10);
            most = most.max(KEY.len() + MAX_BYTES + old);
            now += every_ms;
        }
        (most, known.id - 1)
    }

    #[test]
    fn old_marks_leave_room_for_the_next_however_fast_a_tab_is_written() {
        for every_ms in [10, 50, 200] {
            let (most, written) = fill(every_ms);
            assert!(most <= 29_900, "{most} characters");
            assert!(written > 3_600, "{written} writes in an hour");
        }
        let (_, written) = fill(1_000);
        assert_eq!(written, 3_600, "google's default is not slowed down");
    }

    #[test]
    fn a_new_tab_waits_for_nothing() {
        let batch = Batch::creating(Mark::default(), "Responses", &[]);
        assert_eq!(batch.map(|batch| batch.pause(0)), Some(Duration::ZERO));
    }
}
