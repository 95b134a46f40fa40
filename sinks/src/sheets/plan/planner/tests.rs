#![allow(clippy::unwrap_used)]

use super::*;
use crate::sheets::log::row::{Cell, CellValue};

const LIMITS: Limits = Limits {
    rows: 4,
    hold_back_ms: 1_000,
};

fn planner(id: i32) -> Planner {
    Planner::new(
        KnownCheckpoint {
            id,
            checkpoint: Checkpoint::default(),
            read_ms: 0,
            older: Vec::new(),
            cells: 0,
        },
        LIMITS,
    )
}

fn partition() -> Partition {
    Partition {
        topic: "rows".into(),
        number: 0,
    }
}

fn row(offset: i64, time: i64, text: &str) -> SheetRow {
    let key = RowKey {
        time,
        id: format!("id{offset}"),
        partition: partition(),
        offset,
    };
    let value = CellValue::Text(text.to_owned());
    let cells = vec![Cell {
        column: "a".into(),
        title: "A".into(),
        value,
    }];
    SheetRow {
        key,
        cells,
        record: None,
    }
}

/// A planner that has read rows with these times, from offset 0 on.
fn with_rows(times: impl IntoIterator<Item = i64>) -> Planner {
    let mut planner = planner(1);
    for (offset, time) in (0..).zip(times) {
        assert!(planner.read(&partition(), offset));
        planner.add(row(offset, time, ""), 0);
    }
    planner
}

fn offsets(batch: &SheetBatch) -> Vec<i64> {
    batch.rows.iter().map(|row| row.row.key.offset).collect()
}

#[test]
fn rows_wait_for_the_watermark_or_until_they_were_held_back_long_enough() {
    let mut planner = with_rows([30, 10, 20]);
    assert!(planner.next_batch(0).is_none());
    assert_eq!(planner.earliest_waiting(), Some(10));
    planner.advance_watermark(20);
    assert_eq!(offsets(&planner.next_batch(0).unwrap()), [1, 2]);
    assert_eq!(planner.earliest_waiting(), Some(30));
    assert!(planner.next_batch(999).is_none());
    assert_eq!(offsets(&planner.next_batch(1_000).unwrap()), [0]);
}

#[test]
fn a_rejected_batch_is_halved_until_the_bad_row_is_alone() {
    let mut planner = with_rows([1, 2, 3, 4]);
    planner.advance_watermark(4);
    for expected in [&[0, 1, 2, 3][..], &[0, 1], &[0]] {
        let batch = planner.next_batch(0).unwrap();
        assert_eq!(offsets(&batch), expected);
        assert_eq!(planner.rejected(batch, "bad".into(), 0), None);
    }
    let probe = planner.next_batch(0).unwrap();
    assert!(probe.is_probe && probe.rows.is_empty());
    assert!(
        planner.take_rejected().is_empty(),
        "not before the sheet has accepted the probe"
    );
    planner.written(probe, 0);
    let again = planner.next_batch(0).unwrap();
    assert_eq!(offsets(&again), [0], "a user may have repaired the sheet");
    assert!(planner.take_rejected().is_empty());
    planner.rejected(again, "bad".into(), 0);
    let rejected = planner.take_rejected();
    assert_eq!(
        (rejected[0].row.key.offset, rejected[0].reason),
        (0, "refused")
    );
    planner.skip(&partition(), 0);
    assert_eq!(offsets(&planner.next_batch(0).unwrap()), [1]);
}

#[test]
fn a_row_that_a_repaired_sheet_accepts_is_not_rejected() {
    let mut planner = with_rows([1, 2]);
    planner.max_rows = 1;
    planner.advance_watermark(2);
    let batch = planner.next_batch(0).unwrap();
    planner.rejected(batch, "a column is gone".into(), 0);
    let probe = planner.next_batch(0).unwrap();
    planner.written(probe, 0);
    let again = planner.next_batch(0).unwrap();
    assert_eq!(planner.written(again, 0).len(), 1);
    assert_eq!(offsets(&planner.next_batch(0).unwrap()), [1]);
    assert!(planner.take_rejected().is_empty());
}

#[test]
fn a_sheet_that_accepts_nothing_loses_no_row() {
    let mut planner = with_rows([1, 2]);
    planner.advance_watermark(2);
    let batch = planner.next_batch(0).unwrap();
    let full = "above the limit of 10000000 cells".to_owned();
    assert_eq!(planner.rejected(batch, full.clone(), 0), Some(full));
    let batch = planner.next_batch(0).unwrap();
    planner.rejected(batch, "protected".into(), 0);
    let probe = planner.next_batch(0).unwrap();
    assert_eq!(
        planner.rejected(probe, "protected".into(), 0),
        Some("protected".into())
    );
    assert!(planner.take_rejected().is_empty());
    assert_eq!(
        (planner.buffered(), offsets(&planner.next_batch(0).unwrap())),
        (2, vec![0])
    );
}

#[test]
fn a_third_bad_row_in_succession_is_the_fault_of_the_sheet() {
    let mut planner = with_rows([1, 2, 3]);
    planner.max_rows = 1;
    planner.advance_watermark(3);
    for _ in 0..MAX_CONSECUTIVE_REJECTIONS {
        let batch = planner.next_batch(0).unwrap();
        planner.rejected(batch, "bad".into(), 0);
        let probe = planner.next_batch(0).unwrap();
        planner.written(probe, 0);
        let again = planner.next_batch(0).unwrap();
        planner.rejected(again, "bad".into(), 0);
    }
    let batch = planner.next_batch(0).unwrap();
    assert_eq!(planner.rejected(batch, "bad".into(), 0), Some("bad".into()));
    assert_eq!(planner.take_rejected().len(), MAX_CONSECUTIVE_REJECTIONS);
}

#[test]
fn half_of_a_full_buffer_is_written_without_waiting() {
    let mut planner = with_rows([]);
    let long = "x".repeat(1 << 20);
    let mut offset = 0;
    while !planner.is_draining() {
        planner.read(&partition(), offset);
        planner.add(row(offset, 1_000_000 + offset, &long), 0);
        offset += 1;
    }
    let mut written = 0;
    while planner.is_draining() {
        let batch = planner.next_batch(0).unwrap();
        assert_eq!(batch.rows.len(), 1, "a batch has at most a megabyte");
        written += i64::try_from(planner.written(batch, 0).len()).unwrap();
    }
    assert!(
        (offset / 2..offset).contains(&written),
        "{written} of {offset}"
    );
    assert!(planner.next_batch(0).is_none());
}

#[test]
fn a_checkpoint_that_would_be_too_long_is_shortened_by_writing_the_lowest_offsets() {
    // Every other row is due, so each would be a separate run in the checkpoint.
    let count = 4_000;
    let mut planner = with_rows((0..count).map(|offset| if offset % 2 == 0 { 2 } else { 1 }));
    (planner.max_rows, planner.limits.rows) = (100, 100);
    planner.advance_watermark(1);
    let mut written = Vec::new();
    let mut shortened = false;
    while let Some(batch) = planner.next_batch(0) {
        assert!(
            batch.checkpoint_json.len() <= MAX_CHECKPOINT_BYTES,
            "{}",
            batch.checkpoint_json.len()
        );
        shortened |= offsets(&batch).contains(&0);
        written.extend(offsets(&batch));
        planner.written(batch, 0);
    }
    assert!(shortened);
    let missing = (0..count)
        .filter(|offset| offset % 2 == 1 && !written.contains(offset))
        .count();
    assert_eq!(missing, 0, "all rows that were due are written");
    written.sort_unstable();
    written.dedup();
    assert_eq!(
        written.len() + planner.buffered(),
        usize::try_from(count).unwrap()
    );
}

#[test]
fn dead_letters_alone_advance_the_checkpoint() {
    let mut planner = planner(1);
    planner.read(&partition(), 0);
    assert!(planner.next_batch(0).is_none());
    planner.skip(&partition(), 0);
    let batch = planner.next_batch(0).unwrap();
    assert_eq!(
        batch.checkpoint.positions.get(&partition()).unwrap().low(),
        1
    );
    planner.written(batch, 0);
    assert!(planner.next_batch(0).is_none());
}

#[test]
fn records_that_were_read_before_are_ignored() {
    let mut planner = with_rows([1]);
    assert!(!planner.read(&partition(), 0), "it is pending");
    planner.advance_watermark(1);
    let batch = planner.next_batch(0).unwrap();
    planner.written(batch, 0);
    let mut restarted = Planner::new(planner.known().clone(), LIMITS);
    assert!(!restarted.read(&partition(), 0), "it is in the sheet");
    assert!(
        restarted.read(&partition(), 3),
        "offsets 1 and 2 are control records"
    );
    assert_eq!(restarted.next(&partition()), Some(4));
}

#[test]
fn a_tab_without_versions_left_is_not_written() {
    let mut planner = planner((1 << 24) - 2);
    planner.read(&partition(), 0);
    planner.add(row(0, 1, ""), 0);
    planner.advance_watermark(1);
    assert!(planner.next_batch(0).is_none());
    assert!(planner.is_exhausted());
    assert_eq!(planner.buffered(), 1);
    // The last version closes the tab.
    planner.next_spreadsheet = Some("next".to_owned());
    let closing = planner.next_batch(0).unwrap();
    assert_eq!(
        (closing.checkpoint_id, closing.rows.len()),
        ((1 << 24) - 1, 0)
    );
    planner.written(closing, 0);
    assert!(planner.is_closed() && !planner.is_exhausted());
}

#[test]
fn the_tab_of_a_full_spreadsheet_is_closed_once_and_without_rows() {
    let full = "above the limit of 10000000 cells".to_owned();
    let mut planner = with_rows([1, 2]).with_next_spreadsheet(Some("next".to_owned()));
    planner.advance_watermark(2);
    let batch = planner.next_batch(0).unwrap();
    let id = batch.checkpoint_id;
    assert_eq!(planner.rejected(batch, full, 0), None);
    let closing = planner.next_batch(0).unwrap();
    assert_eq!((closing.checkpoint_id, closing.rows.len()), (id, 0));
    assert_eq!(closing.checkpoint.continues_in.as_deref(), Some("next"));
    assert_eq!(
        closing
            .checkpoint
            .positions
            .get(&partition())
            .unwrap()
            .low(),
        0
    );
    planner.written(closing, 0);
    assert!(planner.is_closed() && planner.next_batch(0).is_none());
}

#[test]
fn the_tab_is_closed_when_the_counted_cells_are_near_the_limit() {
    let mut planner = with_rows([1, 2]).with_next_spreadsheet(Some("next".to_owned()));
    planner.known.cells = FULL_CELLS - 8;
    planner.max_rows = 1;
    planner.advance_watermark(2);
    let batch = planner.next_batch(0).unwrap();
    planner.written(batch, 0);
    // A new column with two cells, and a row of four cells.
    assert_eq!(planner.known().cells, FULL_CELLS - 2);
    let batch = planner.next_batch(0).unwrap();
    assert_eq!(batch.rows.len(), 1);
    planner.written(batch, 0);
    assert!(
        planner
            .next_batch(0)
            .unwrap()
            .checkpoint
            .continues_in
            .is_some()
    );
}
