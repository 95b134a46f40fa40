//! The checkpoint of a tab: what the sheet holds. It is in the tab's developer metadata, is written
//! in one atomic batch with the rows, and is the only source of truth about the sheet.
//!
//! Checkpoints form a chain. The checkpoint of version n has the metadata id `tab * 2^24 + n`, and
//! Google rejects an id that exists. So only one of all batches that continue version n is applied,
//! be they copies in the network, resent batches, or batches of an owner that has lost the tab.
//! Older checkpoints are stripped to the time when they were replaced, and are kept until no
//! request with their id can still be in flight.
//!
//! The last checkpoint of a tab in a full spreadsheet closes the tab: it names the spreadsheet in
//! which the sink continues. No batch can follow it, because every batch that continues its
//! predecessor has the same id.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use formline_core::kafka::record::Partition;
use serde::{Deserialize, Serialize};

use super::offsets::DoneOffsets;

/// What a tab holds. Its JSON is stored in the tab.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct Checkpoint {
    /// Consumer group of the sink that owns the tab.
    pub(crate) sink: String,
    /// The spreadsheet for which it was written. A copy of the spreadsheet has the same
    /// checkpoints.
    pub(crate) spreadsheet: String,
    /// The tab for which it was written. A copy of the tab has the same checkpoints.
    #[serde(rename = "sheet")]
    pub(crate) sheet_id: i32,
    /// When it was created, in milliseconds since 1970.
    #[serde(rename = "at")]
    pub(crate) created_ms: i64,
    /// When the first checkpoint of the sink was created. It distinguishes a tab from an earlier
    /// one of the same title that a user has deleted: what Redis holds for the earlier tab is void.
    #[serde(rename = "began", default)]
    pub(crate) first_created_ms: i64,
    /// Rows that were ever written below the heading.
    pub(crate) rows: u64,
    /// Time (microseconds since 1970) and id of the latest submission among them. An earlier
    /// submission that is written after it is late.
    pub(crate) last: (i64, String),
    /// Names of the columns after the fixed ones, in order.
    pub(crate) columns: Vec<String>,
    /// Digests of the headings of these columns. Checkpoints of older versions have none.
    #[serde(rename = "headings", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) heading_digests: Vec<u16>,
    /// What need not be read again.
    pub(crate) positions: DonePositions,
    /// The spreadsheet in which the sink continues, if this tab is closed.
    #[serde(rename = "next", default, skip_serializing_if = "Option::is_none")]
    pub(crate) continues_in: Option<String>,
}

/// The offsets that are done, by topic and partition.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct DonePositions(BTreeMap<String, BTreeMap<i32, DoneOffsets>>);

/// An entry of developer metadata with the key [`METADATA_KEY`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MetadataEntry {
    pub(crate) id: i32,
    pub(crate) sheet_id: i32,
    pub(crate) value: String,
}

/// The newest checkpoint of a tab, as far as this process knows.
#[derive(Clone, Debug)]
pub(crate) struct KnownCheckpoint {
    /// Its metadata id.
    pub(crate) id: i32,
    pub(crate) checkpoint: Checkpoint,
    /// A time at which it was the newest, in milliseconds since 1970.
    pub(crate) read_ms: i64,
    /// Ids of the checkpoints before it, and when each was replaced.
    pub(crate) older: Vec<(i32, i64)>,
    /// Cells of the spreadsheet when it was read, plus those that were added since.
    pub(crate) cells: u64,
}

/// The checkpoint of one sink in a spreadsheet.
#[expect(clippy::large_enum_variant, reason = "a sink has one at a time")]
#[derive(Clone, Debug)]
pub(crate) enum FoundCheckpoint {
    /// The newest checkpoint of its tab.
    Newest(KnownCheckpoint),
    /// The sink has no tab in it.
    Missing,
    /// The checkpoints were written for the spreadsheet with this id, so this spreadsheet is a
    /// copy.
    CopyOf(String),
}

/// The metadata key of every checkpoint. It is short because it counts towards Google's limit each
/// time.
pub(crate) const METADATA_KEY: &str = "formline";

/// How long old checkpoints are kept. Google gives up on a request after 180 s, and the sink on the
/// answer after 200 s.
pub(crate) const RETENTION_MS: i64 = 600_000;

/// A batch is not sent if the newest checkpoint was read longer ago than this. The batch must be
/// applied or dead before the checkpoint that would reject it is deleted: 200 s here, 200 s until
/// the sink gives up and 180 s inside Google are less than `RETENTION_MS`.
pub(crate) const MAX_AGE_MS: i64 = 200_000;

/// Google keeps 30,000 characters of metadata for a tab. Each old checkpoint takes 18 of them;
/// `MAX_OLDER` and the throttled ones together take at most 13,600.
pub(crate) const MAX_CHECKPOINT_BYTES: usize = 16_000;

/// The part of `MAX_CHECKPOINT_BYTES` for the names of columns and the digests of their headings.
pub(crate) const MAX_COLUMN_BYTES: usize = 8_000;

/// Google's limit of cells in a spreadsheet, over all tabs and including empty cells.
pub(crate) const MAX_CELLS: u64 = 10_000_000;

/// From this number of cells on, the sink continues in the next spreadsheet. The rest is left for
/// users and for batches whose cells are not counted yet.
pub(crate) const FULL_CELLS: u64 = MAX_CELLS / 10 * 9;

/// With this many old checkpoints, writes are throttled. Google's default quota never reaches it.
const MAX_OLDER: usize = 650;

/// The interval between writes that are throttled. Old checkpoints cannot be deleted sooner,
/// because a request that has their id and is still in flight would be applied.
const THROTTLED_MS: i64 = RETENTION_MS / 100;

const VERSION_BITS: u32 = 24;
const MAX_TAB: i32 = (1 << (31 - VERSION_BITS)) - 1;

// === impl Checkpoint ===

impl Checkpoint {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("its keys are texts and numbers")
    }

    /// The first checkpoint of the tab that continues where this one was closed. Columns are added
    /// again there, with their headings.
    pub(crate) fn continued_in(&self, spreadsheet: &str, sheet_id: i32, now_ms: i64) -> Self {
        Self {
            sink: self.sink.clone(),
            spreadsheet: spreadsheet.to_owned(),
            sheet_id,
            created_ms: now_ms,
            first_created_ms: match self.first_created_ms {
                0 => now_ms,
                first => first,
            },
            last: self.last.clone(),
            positions: self.positions.clone(),
            ..Self::default()
        }
    }
}

// === impl DonePositions ===

impl DonePositions {
    pub(crate) fn get(&self, partition: &Partition) -> Option<&DoneOffsets> {
        self.0.get(&*partition.topic)?.get(&partition.number)
    }

    /// The offsets of a partition. If the partition is new, reading begins at `low`.
    pub(crate) fn of(&mut self, partition: &Partition, low: i64) -> &mut DoneOffsets {
        let numbers = self.0.entry((*partition.topic).to_owned()).or_default();
        numbers
            .entry(partition.number)
            .or_insert_with(|| DoneOffsets::below(low))
    }

    /// Adds what another process has read of a partition: those of these offsets that do not wait
    /// in Redis.
    pub(crate) fn add_read_elsewhere(
        &mut self,
        partition: &Partition,
        read: Range<i64>,
        waiting: &BTreeSet<i64>,
    ) {
        let done = self.of(partition, read.start);
        let mut from = read.start;
        for &offset in waiting.range(read.clone()) {
            done.add_skipped(from, offset);
            from = offset + 1;
        }
        done.add_skipped(from, read.end);
    }

    /// How many runs of rows were written although earlier rows were not.
    pub(crate) fn gaps(&self) -> usize {
        let offsets = self.0.values().flat_map(BTreeMap::values);
        offsets.map(DoneOffsets::gaps).sum()
    }

    /// Where reading must begin, by topic and number of the partition.
    pub(crate) fn lows(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.0.iter().flat_map(|(topic, numbers)| {
            numbers
                .iter()
                .map(|(number, offsets)| (topic.as_str(), *number, offsets.low()))
        })
    }
}

// === impl KnownCheckpoint ===

impl KnownCheckpoint {
    /// The id of the checkpoint that follows, or `None` if the only version left is the one that
    /// may close the tab.
    pub(crate) fn next_id(&self) -> Option<i32> {
        (self.id < self.last_id() - 1).then(|| self.id + 1)
    }

    /// The id of the checkpoint that closes the tab: the same id that any other batch would have.
    pub(crate) fn closing_id(&self) -> Option<i32> {
        (self.id < self.last_id()).then(|| self.id + 1)
    }

    fn last_id(&self) -> i32 {
        self.id | ((1 << VERSION_BITS) - 1)
    }

    pub(crate) fn is_fresh(&self, now_ms: i64) -> bool {
        (0..=MAX_AGE_MS).contains(&(now_ms - self.read_ms))
    }

    /// How long a batch that was created at `created_ms` must wait, so that old checkpoints leave
    /// room for new ones.
    pub(crate) fn throttle_ms(&self, created_ms: i64, now_ms: i64) -> i64 {
        let oldest = created_ms - RETENTION_MS;
        let kept = self.older.iter().filter(|(_, old)| *old >= oldest);
        if kept.count() < MAX_OLDER {
            return 0;
        }
        (self.read_ms + THROTTLED_MS - now_ms).clamp(0, THROTTLED_MS)
    }
}

// === impl FoundCheckpoint ===

impl FoundCheckpoint {
    /// Finds the newest checkpoint of `sink`, regardless of the position and the title of its tab.
    pub(crate) fn find(
        entries: &[MetadataEntry],
        sink: &str,
        spreadsheet: &str,
        read_ms: i64,
    ) -> Self {
        let checkpoints = entries.iter().filter_map(|entry| {
            let checkpoint: Checkpoint = serde_json::from_str(&entry.value).ok()?;
            let is_ours = checkpoint.sink == sink && checkpoint.sheet_id == entry.sheet_id;
            is_ours.then_some((entry.id, checkpoint))
        });
        match checkpoints.max_by_key(|(id, _)| *id) {
            None => Self::Missing,
            Some((_, checkpoint)) if checkpoint.spreadsheet != spreadsheet => {
                Self::CopyOf(checkpoint.spreadsheet)
            }
            Some((id, checkpoint)) => {
                let older = older(entries, checkpoint.sheet_id);
                Self::Newest(KnownCheckpoint {
                    id,
                    checkpoint,
                    read_ms,
                    older,
                    cells: 0,
                })
            }
        }
    }
}

/// Checkpoints that were stripped to the second in which they were replaced.
fn older(entries: &[MetadataEntry], sheet_id: i32) -> Vec<(i32, i64)> {
    let entries = entries.iter().filter(|entry| entry.sheet_id == sheet_id);
    entries
        .filter_map(|entry| Some((entry.id, entry.value.parse::<i64>().ok()? * 1000)))
        .collect()
}

/// The id of the first checkpoint of a new tab: its tab number is the first that no tab of the
/// spreadsheet uses. `None` if 128 tabs have checkpoints.
pub(crate) fn first_id(entries: &[MetadataEntry]) -> Option<i32> {
    let used: BTreeSet<i32> = entries
        .iter()
        .map(|entry| entry.id >> VERSION_BITS)
        .collect();
    let free = (0..=MAX_TAB).find(|tab| !used.contains(tab))?;
    Some((free << VERSION_BITS) + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn entry(id: i32, sheet_id: i32, sink: &str, spreadsheet: &str) -> MetadataEntry {
        let checkpoint = Checkpoint {
            sink: sink.to_owned(),
            spreadsheet: spreadsheet.to_owned(),
            sheet_id,
            ..Checkpoint::default()
        };
        MetadataEntry {
            id,
            sheet_id,
            value: checkpoint.to_json(),
        }
    }

    fn partition() -> Partition {
        Partition {
            topic: "rows".into(),
            number: 3,
        }
    }

    #[test]
    fn the_newest_checkpoint_of_the_sink_is_found() {
        let stripped = MetadataEntry {
            id: 1,
            sheet_id: 7,
            value: "1700000000".into(),
        };
        let copied_tab = MetadataEntry {
            sheet_id: 9,
            ..entry(99, 7, "ours", "s")
        };
        let entries = [
            stripped,
            entry(2, 7, "ours", "s"),
            entry(50, 8, "other", "s"),
            copied_tab,
        ];
        let FoundCheckpoint::Newest(known) = FoundCheckpoint::find(&entries, "ours", "s", 5) else {
            panic!("no checkpoint")
        };
        assert_eq!((known.id, known.older), (2, vec![(1, 1_700_000_000_000)]));
        assert!(matches!(
            FoundCheckpoint::find(&entries, "third", "s", 5),
            FoundCheckpoint::Missing
        ));
        assert!(matches!(
            FoundCheckpoint::find(&entries, "ours", "copy", 5),
            FoundCheckpoint::CopyOf(id) if id == "s"
        ));
    }

    #[test]
    fn each_tab_of_a_spreadsheet_has_its_own_range_of_ids() {
        assert_eq!(first_id(&[]), Some(1));
        let first = entry(12, 7, "ours", "s");
        assert_eq!(first_id(std::slice::from_ref(&first)), Some((1 << 24) + 1));
        let all: Vec<_> = (0..128)
            .map(|tab| MetadataEntry {
                id: (tab << 24) + 1,
                ..first.clone()
            })
            .collect();
        assert_eq!(first_id(&all), None);
    }

    #[test]
    fn versions_end_before_the_ids_of_the_next_tab() {
        let known = |id| KnownCheckpoint {
            id,
            checkpoint: Checkpoint::default(),
            read_ms: 0,
            older: vec![],
            cells: 0,
        };
        assert_eq!(known(1).next_id(), Some(2));
        assert_eq!(known((1 << 24) - 3).next_id(), Some((1 << 24) - 2));
        assert_eq!(known((1 << 24) - 2).next_id(), None);
        assert_eq!(known((1 << 24) - 2).closing_id(), Some((1 << 24) - 1));
        assert_eq!(known((1 << 24) - 1).closing_id(), None);
        assert_eq!(known(i32::MAX).next_id(), None);
    }

    #[test]
    fn a_checkpoint_survives_a_round_trip_through_json() {
        let mut checkpoint = Checkpoint {
            columns: vec!["roll".into()],
            ..Checkpoint::default()
        };
        checkpoint.positions.of(&partition(), 5).add_row(7);
        let read: Checkpoint = serde_json::from_str(&checkpoint.to_json()).unwrap();
        assert_eq!(read, checkpoint);
        assert_eq!(read.positions.get(&partition()).unwrap().low(), 5);
    }

    /// Sheets hold checkpoints of all earlier versions.
    #[test]
    fn the_stored_form_of_a_checkpoint_does_not_change() {
        let mut checkpoint = Checkpoint {
            sink: "formline.app.sheet".into(),
            spreadsheet: "s".into(),
            sheet_id: 7,
            created_ms: 1_700_000_000_001,
            first_created_ms: 1_700_000_000_000,
            rows: 2,
            last: (1_700_000_000_000_000, "id".into()),
            columns: vec!["roll".into()],
            heading_digests: vec![513],
            continues_in: Some("t".into()),
            ..Checkpoint::default()
        };
        checkpoint.positions.of(&partition(), 5).add_row(7);
        let stored = concat!(
            r#"{"sink":"formline.app.sheet","spreadsheet":"s","sheet":7,"at":1700000000001,"#,
            r#""began":1700000000000,"rows":2,"last":[1700000000000000,"id"],"columns":["roll"],"#,
            r#""headings":[513],"positions":{"rows":{"3":[5,[[7,8]]]}},"next":"t"}"#
        );
        assert_eq!(checkpoint.to_json(), stored);

        let oldest = concat!(
            r#"{"sink":"formline.app.sheet","spreadsheet":"s","sheet":7,"at":1,"rows":0,"#,
            r#""last":[0,""],"columns":[],"positions":{}}"#
        );
        let read: Checkpoint = serde_json::from_str(oldest).unwrap();
        assert_eq!((read.created_ms, read.first_created_ms), (1, 0));
        assert_eq!(METADATA_KEY, "formline");
    }
}
