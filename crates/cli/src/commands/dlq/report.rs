//! Progress and results of `formline dlq replay` and `discard`, and their rate limit.

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use formline_core::dead_letter::{
    index::Resolution,
    letter::{DeadLetter, DeadLetterId},
    replay::ReplayError,
};
use serde_json::json;

use super::format;
use crate::arguments::DlqResolveArgs;

/// Counts and prints resolved dead letters, and limits their rate.
pub(super) struct ResolutionReport {
    how: Resolution,
    json: bool,
    is_dry_run: bool,
    /// Whether standard error is a terminal, which shows the progress.
    is_terminal: bool,
    total: usize,
    done: usize,
    failed: usize,
    /// Interval between two dead letters.
    interval: Duration,
    next: Instant,
}

/// The result for one dead letter.
pub(super) enum LetterResult {
    Resolved(DeadLetterId),
    /// A dry run: it would have been resolved.
    WouldResolve(DeadLetter),
    /// It stays open, for this reason.
    Failed(String),
}

// === impl ResolutionReport ===

impl ResolutionReport {
    pub(super) fn new(how: Resolution, total: usize, arguments: &DlqResolveArgs) -> Self {
        Self {
            how,
            json: arguments.output.json,
            is_dry_run: arguments.dry_run,
            is_terminal: io::stderr().is_terminal(),
            total,
            done: 0,
            failed: 0,
            interval: Duration::from_secs(1) / arguments.rate.get(),
            next: Instant::now(),
        }
    }

    /// Waits until the next dead letter may be resolved.
    pub(super) fn wait(&mut self) {
        let now = Instant::now();
        #[expect(clippy::disallowed_methods, reason = "a signal ends the whole command")]
        thread::sleep(self.next.saturating_duration_since(now));
        // Lost time is not made up for, so that the steps do not receive a burst.
        self.next = self.next.max(now) + self.interval;
    }

    /// Counts and prints a result.
    pub(super) fn add(&mut self, result: LetterResult) -> Result<()> {
        let mut out = io::stdout().lock();
        match result {
            LetterResult::Resolved(id) => {
                self.done += 1;
                if self.json {
                    let (id, how) = (id.to_string(), self.how.to_string());
                    writeln!(out, "{}", json!({ "letter": id, "done": how }))?;
                }
            }
            LetterResult::WouldResolve(letter) => {
                self.done += 1;
                format::print(&mut out, &letter, self.json)?;
            }
            LetterResult::Failed(problem) => {
                self.failed += 1;
                eprintln!("formline: {problem}");
            }
        }
        if self.is_terminal && !self.is_dry_run {
            eprint!("\r{} of {} {}", self.done, self.total, self.how);
        }
        Ok(())
    }

    /// Adds the progress to an error that ends the command early.
    pub(super) fn interrupted(&self, error: ReplayError) -> anyhow::Error {
        let Self {
            how, total, done, ..
        } = self;
        anyhow::Error::from(error).context(format!("{done} of {total} dead letters were {how}"))
    }

    /// Prints the totals.
    ///
    /// # Errors
    /// If a dead letter could not be resolved.
    pub(super) fn finish(self) -> Result<()> {
        let Self {
            how,
            total,
            done,
            failed,
            ..
        } = self;
        if self.is_terminal && !self.is_dry_run && total > 0 {
            eprintln!();
        }
        if !self.json {
            let would = if self.is_dry_run { "would be" } else { "were" };
            writeln!(io::stdout(), "{done} of {total} dead letters {would} {how}")?;
        }
        ensure!(
            failed == 0,
            "{failed} of {total} dead letters were left unchanged"
        );
        Ok(())
    }
}
