//! One atomic write of rows and their checkpoint, and how to find out whether it was applied.

use std::time::Duration;

use super::{
    checkpoint::{self, Checkpoint, FoundCheckpoint, KnownCheckpoint, MetadataEntry, RETENTION_MS},
    headings::FIXED_HEADINGS,
    row::SheetRow,
};

/// A write that is applied completely or not at all, and at most once however often it is sent.
#[derive(Clone, Debug)]
pub(crate) struct SheetBatch {
    /// Metadata id of the new checkpoint.
    pub(crate) checkpoint_id: i32,
    pub(crate) checkpoint: Checkpoint,
    /// The new checkpoint as JSON.
    pub(crate) checkpoint_json: String,
    pub(crate) predecessor: Predecessor,
    /// Headings of the new columns, which are the last ones of `checkpoint.columns`.
    pub(crate) new_headings: Vec<String>,
    pub(crate) rows: Vec<BatchRow>,
    /// Whether it appends only a blank row, which leaves no content, to find out whether the sheet
    /// accepts rows at all.
    pub(crate) is_probe: bool,
}

/// The state of the spreadsheet on which a batch is based.
#[expect(clippy::large_enum_variant, reason = "a sink has one at a time")]
#[derive(Clone, Debug)]
pub(crate) enum Predecessor {
    /// The sink has no tab yet. The batch creates one with this title.
    NewTab { title: String },
    /// The tab has this checkpoint.
    Checkpoint(KnownCheckpoint),
}

/// A row as the sheet will show it.
#[derive(Clone, Debug)]
pub(crate) struct BatchRow {
    pub(crate) row: SheetRow,
    /// Whether a later submission is above it.
    pub(crate) is_late: bool,
}

/// What has become of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BatchOutcome {
    /// The sheet holds it.
    Written,
    /// Google rejects it, so it was not written and never will be.
    Rejected(String),
    /// Another batch was written in its place, by another owner or by an earlier process of this
    /// one.
    Superseded,
    /// The tab no longer exists, or its columns are not where they were.
    TabChanged,
}

/// What to do with a batch after an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BatchStatus {
    /// What has become of it is known.
    Resolved(BatchOutcome),
    /// It has not been applied as far as can be seen, and still can be: send it again.
    Resend,
}

// === impl SheetBatch ===

impl SheetBatch {
    /// The batch that creates the tab of a sink. `None` if the spreadsheet has no ids left for
    /// another tab.
    pub(crate) fn creating_tab(
        checkpoint: Checkpoint,
        title: &str,
        entries: &[MetadataEntry],
    ) -> Option<Self> {
        Some(Self {
            checkpoint_id: checkpoint::first_id(entries)?,
            checkpoint_json: checkpoint.to_json(),
            checkpoint,
            predecessor: Predecessor::NewTab {
                title: title.to_owned(),
            },
            new_headings: Vec::new(),
            rows: Vec::new(),
            is_probe: false,
        })
    }

    /// The id of the previous checkpoint, which is to be stripped, and the text that remains of it:
    /// the second in which this batch was created. The previous checkpoint had been applied by
    /// then, whereas it may have been created long before.
    pub(crate) fn stripped(&self) -> Option<(i32, String)> {
        let Predecessor::Checkpoint(known) = &self.predecessor else {
            return None;
        };
        Some((
            known.id,
            (self.checkpoint.created_ms / 1000 + 1).to_string(),
        ))
    }

    /// Checkpoints that no request in flight can continue any more.
    pub(crate) fn expired(&self) -> impl Iterator<Item = i32> {
        let oldest = self.checkpoint.created_ms - RETENTION_MS;
        self.older()
            .iter()
            .filter(move |(_, at)| *at < oldest)
            .map(|(id, _)| *id)
    }

    /// The state after the batch was written.
    pub(crate) fn into_known(self, read_ms: i64) -> (KnownCheckpoint, Vec<BatchRow>) {
        let oldest = self.checkpoint.created_ms - RETENTION_MS;
        let mut older: Vec<_> = self.older().to_vec();
        let cells = self.cells();
        older.retain(|(_, at)| *at >= oldest);
        if let Predecessor::Checkpoint(known) = &self.predecessor {
            older.push((known.id, self.checkpoint.created_ms));
        }
        (
            KnownCheckpoint {
                id: self.checkpoint_id,
                checkpoint: self.checkpoint,
                read_ms,
                older,
                cells,
            },
            self.rows,
        )
    }

    /// Cells of the spreadsheet after it: each row takes all columns, and each new column all rows.
    fn cells(&self) -> u64 {
        let before = match &self.predecessor {
            Predecessor::Checkpoint(known) => known.cells,
            Predecessor::NewTab { .. } => 0,
        };
        let rows = self.rows.len() * (FIXED_HEADINGS.len() + self.checkpoint.columns.len());
        let columns = (self.checkpoint.rows + 1) * self.new_headings.len() as u64;
        before + rows as u64 + columns
    }

    fn older(&self) -> &[(i32, i64)] {
        match &self.predecessor {
            Predecessor::Checkpoint(known) => &known.older,
            Predecessor::NewTab { .. } => &[],
        }
    }

    /// Whether the batch may be sent at `now_ms` without reading the checkpoints first. A batch
    /// that creates a tab always may, because Google also rejects a second tab with the same id.
    pub(crate) fn is_fresh(&self, now_ms: i64) -> bool {
        match &self.predecessor {
            Predecessor::Checkpoint(known) => known.is_fresh(now_ms),
            Predecessor::NewTab { .. } => true,
        }
    }

    /// The checkpoint on which it is based, unless it creates the tab.
    pub(crate) fn base(&self) -> Option<&Checkpoint> {
        match &self.predecessor {
            Predecessor::Checkpoint(known) => Some(&known.checkpoint),
            Predecessor::NewTab { .. } => None,
        }
    }

    /// How long the batch must wait before it is sent.
    pub(crate) fn throttle(&self, now_ms: i64) -> Duration {
        let throttle_ms = match &self.predecessor {
            Predecessor::Checkpoint(known) => known.throttle_ms(self.checkpoint.created_ms, now_ms),
            Predecessor::NewTab { .. } => 0,
        };
        Duration::from_millis(throttle_ms.unsigned_abs())
    }

    /// Records that its predecessor was still the newest checkpoint at `read_ms`.
    pub(crate) fn confirm(&mut self, read_ms: i64) {
        if let Predecessor::Checkpoint(known) = &mut self.predecessor {
            known.read_ms = read_ms;
        }
    }

    /// What to do with the batch, by the checkpoints that were read after an answer. `rejection` is
    /// Google's reason, if the answer was a definite one.
    pub(crate) fn status(&self, entries: &[MetadataEntry], rejection: Option<&str>) -> BatchStatus {
        let found = FoundCheckpoint::find(
            entries,
            &self.checkpoint.sink,
            &self.checkpoint.spreadsheet,
            0,
        );
        let is_unchanged = match (&self.predecessor, &found) {
            (_, FoundCheckpoint::Newest(newest))
                if newest.id == self.checkpoint_id
                    && newest.checkpoint.to_json() == self.checkpoint_json =>
            {
                return BatchStatus::Resolved(BatchOutcome::Written);
            }
            (Predecessor::Checkpoint(_), FoundCheckpoint::Missing) => {
                return BatchStatus::Resolved(BatchOutcome::TabChanged);
            }
            (Predecessor::Checkpoint(known), FoundCheckpoint::Newest(newest)) => {
                known.id == newest.id
            }
            (Predecessor::NewTab { .. }, FoundCheckpoint::Missing) => true,
            _ => false,
        };
        match rejection {
            _ if !is_unchanged => BatchStatus::Resolved(BatchOutcome::Superseded),
            Some(why) => BatchStatus::Resolved(BatchOutcome::Rejected(why.to_owned())),
            None => BatchStatus::Resend,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use crate::sheets::log::checkpoint::{MAX_CHECKPOINT_BYTES, METADATA_KEY};

    /// The batch that continues `known`, created at `created_ms`.
    fn continuing(known: &KnownCheckpoint, created_ms: i64) -> SheetBatch {
        SheetBatch {
            checkpoint_id: known.next_id().expect("it is far from the last version"),
            checkpoint_json: "x".repeat(MAX_CHECKPOINT_BYTES),
            checkpoint: Checkpoint {
                created_ms,
                ..known.checkpoint.clone()
            },
            predecessor: Predecessor::Checkpoint(known.clone()),
            new_headings: Vec::new(),
            rows: Vec::new(),
            is_probe: false,
        }
    }

    /// Writes a tab for an hour, every `every_ms` unless it is throttled. Returns the largest
    /// number of characters of metadata that it had, and the number of writes.
    fn fill(every_ms: i64) -> (usize, i32) {
        let begin = 1_700_000_000_000;
        let (mut now, mut most) = (begin, 0);
        let mut known = KnownCheckpoint {
            id: 1,
            checkpoint: Checkpoint::default(),
            read_ms: now,
            older: Vec::new(),
            cells: 0,
        };
        while now < begin + 3_600_000 && most <= 30_000 {
            let batch = continuing(&known, now);
            now += i64::try_from(batch.throttle(now).as_millis()).unwrap_or(i64::MAX);
            let sent_ms = now;
            known = batch.into_known(sent_ms).0;
            let old = known.older.len() * (METADATA_KEY.len() + 10);
            most = most.max(METADATA_KEY.len() + MAX_CHECKPOINT_BYTES + old);
            now += every_ms;
        }
        (most, known.id - 1)
    }

    #[test]
    fn old_checkpoints_leave_room_for_new_ones_however_fast_a_tab_is_written() {
        for every_ms in [10, 50, 200] {
            let (most, written) = fill(every_ms);
            assert!(most <= 29_900, "{most} characters");
            assert!(written > 3_600, "{written} writes in an hour");
        }
        let (_, written) = fill(1_000);
        assert_eq!(written, 3_600, "google's default quota is not throttled");
    }

    #[test]
    fn a_new_tab_is_not_throttled() {
        let batch = SheetBatch::creating_tab(Checkpoint::default(), "Responses", &[]);
        assert_eq!(batch.map(|batch| batch.throttle(0)), Some(Duration::ZERO));
    }
}
