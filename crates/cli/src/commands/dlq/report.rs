//! What `formline dlq replay` and `discard` tell while they work, and how fast that is.

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use formline_core::{
    letter::{Letter, LetterId},
    settlement::{self, How},
};
use serde_json::json;

use super::list;
use crate::arguments::DlqSettle;

/// Counts letters, and keeps the rate.
pub(super) struct Report {
    how: How,
    json: bool,
    is_dry_run: bool,
    /// Whether somebody watches.
    is_watched: bool,
    total: usize,
    done: usize,
    failed: usize,
    /// From one letter to the next.
    pause: Duration,
    next: Instant,
}

/// What became of a letter.
pub(super) enum Outcome {
    Done(LetterId),
    /// It would be settled, if this were no dry run.
    Would(Letter),
    /// It stays as it is, and why.
    Failed(String),
}

// === impl Report ===

impl Report {
    pub(super) fn new(how: How, total: usize, arguments: &DlqSettle) -> Self {
        Self {
            how,
            json: arguments.output.json,
            is_dry_run: arguments.dry_run,
            is_watched: io::stderr().is_terminal(),
            total,
            done: 0,
            failed: 0,
            pause: Duration::from_secs(1) / arguments.rate.get(),
            next: Instant::now(),
        }
    }

    /// Waits until the next letter may be settled.
    pub(super) fn wait(&mut self) {
        let now = Instant::now();
        #[expect(clippy::disallowed_methods, reason = "a signal ends the whole command")]
        thread::sleep(self.next.saturating_duration_since(now));
        // What was slower than the rate is not made up for: the steps must not get a burst.
        self.next = self.next.max(now) + self.pause;
    }

    pub(super) fn note(&mut self, outcome: Outcome) -> Result<()> {
        let mut out = io::stdout().lock();
        match outcome {
            Outcome::Done(id) => {
                self.done += 1;
                if self.json {
                    let (id, how) = (id.to_string(), self.how.to_string());
                    writeln!(out, "{}", json!({ "letter": id, "done": how }))?;
                }
            }
            Outcome::Would(letter) => {
                self.done += 1;
                list::print(&mut out, &letter, self.json)?;
            }
            Outcome::Failed(problem) => {
                self.failed += 1;
                eprintln!("formline: {problem}");
            }
        }
        if self.is_watched && !self.is_dry_run {
            eprint!("\r{} of {} {}", self.done, self.total, self.how);
        }
        Ok(())
    }

    /// An error that ends the work in the middle, with how far it has come.
    pub(super) fn cut_off(&self, error: settlement::Error) -> anyhow::Error {
        let Self {
            how, total, done, ..
        } = self;
        anyhow::Error::from(error).context(format!("{done} of {total} dead letters were {how}"))
    }

    pub(super) fn finish(self) -> Result<()> {
        let Self {
            how,
            total,
            done,
            failed,
            ..
        } = self;
        if self.is_watched && !self.is_dry_run && total > 0 {
            eprintln!();
        }
        if !self.json {
            let would = if self.is_dry_run { "would be" } else { "were" };
            writeln!(io::stdout(), "{done} of {total} dead letters {would} {how}")?;
        }
        ensure!(
            failed == 0,
            "{failed} of {total} dead letters stay as they are"
        );
        Ok(())
    }
}
