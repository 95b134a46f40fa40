#![allow(clippy::unwrap_used)]

use super::*;
use crate::sheets::row::{Cell, Value};

const LIMITS: Limits = Limits {
    rows: 4,
    hold_back_ms: 1_000,
};

fn plan(id: i32) -> Plan {
    Plan::new(
        Known {
            id,
            mark: Mark::default(),
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

fn row(offset: i64, time: i64, text: &str) -> Row {
    let key = Key {
        time,
        id: format!("id{offset}"),
        partition: partition(),
        offset,
    };
    let value = Value::Text(text.to_owned());
    let cells = vec![Cell {
        column: "a".into(),
        title: "A".into(),
        value,
    }];
    Row {
        key,
        cells,
        record: None,
    }
}

/// A plan that has read rows with these times, from offset 0 on.
fn with_rows(times: impl IntoIterator<Item = i64>) -> Plan {
    let mut plan = plan(1);
    for (offset, time) in (0..).zip(times) {
        assert!(plan.read(&partition(), offset));
        plan.add(row(offset, time, ""), 0);
    }
    plan
}

fn offsets(batch: &Batch) -> Vec<i64> {
    batch.rows.iter().map(|line| line.row.key.offset).collect()
}

#[test]
fn rows_wait_until_nothing_earlier_can_come_or_they_were_held_long_enough() {
    let mut plan = with_rows([30, 10, 20]);
    assert!(plan.next_batch(0).is_none());
    assert_eq!(plan.waits_for(), Some(10));
    plan.complete_until(20);
    assert_eq!(offsets(&plan.next_batch(0).unwrap()), [1, 2]);
    assert_eq!(plan.waits_for(), Some(30));
    assert!(plan.next_batch(999).is_none());
    assert_eq!(offsets(&plan.next_batch(1_000).unwrap()), [0]);
}

#[test]
fn a_refused_batch_is_halved_until_the_bad_row_is_alone() {
    let mut plan = with_rows([1, 2, 3, 4]);
    plan.complete_until(4);
    for expected in [&[0, 1, 2, 3][..], &[0, 1], &[0]] {
        let batch = plan.next_batch(0).unwrap();
        assert_eq!(offsets(&batch), expected);
        assert_eq!(plan.refused(batch, "bad".into(), 0), None);
    }
    let probe = plan.next_batch(0).unwrap();
    assert!(probe.probe && probe.rows.is_empty());
    assert!(
        plan.given_up().is_empty(),
        "not before the sheet took the probe"
    );
    plan.written(probe, 0);
    let again = plan.next_batch(0).unwrap();
    assert_eq!(offsets(&again), [0], "a person may have mended the sheet");
    assert!(plan.given_up().is_empty());
    plan.refused(again, "bad".into(), 0);
    let given_up = plan.given_up();
    assert_eq!(
        (given_up[0].row.key.offset, given_up[0].reason),
        (0, "refused")
    );
    plan.rowless(&partition(), 0);
    assert_eq!(offsets(&plan.next_batch(0).unwrap()), [1]);
}

#[test]
fn a_row_that_a_mended_sheet_takes_is_not_given_up() {
    let mut plan = with_rows([1, 2]);
    plan.rows = 1;
    plan.complete_until(2);
    let batch = plan.next_batch(0).unwrap();
    plan.refused(batch, "a column is gone".into(), 0);
    let probe = plan.next_batch(0).unwrap();
    plan.written(probe, 0);
    let again = plan.next_batch(0).unwrap();
    assert_eq!(plan.written(again, 0).len(), 1);
    assert_eq!(offsets(&plan.next_batch(0).unwrap()), [1]);
    assert!(plan.given_up().is_empty());
}

#[test]
fn a_sheet_that_takes_nothing_costs_no_row() {
    let mut plan = with_rows([1, 2]);
    plan.complete_until(2);
    let batch = plan.next_batch(0).unwrap();
    let full = "above the limit of 10000000 cells".to_owned();
    assert_eq!(plan.refused(batch, full.clone(), 0), Some(full));
    let batch = plan.next_batch(0).unwrap();
    plan.refused(batch, "protected".into(), 0);
    let probe = plan.next_batch(0).unwrap();
    assert_eq!(
        plan.refused(probe, "protected".into(), 0),
        Some("protected".into())
    );
    assert!(plan.given_up().is_empty());
    assert_eq!(
        (plan.buffered(), offsets(&plan.next_batch(0).unwrap())),
        (2, vec![0])
    );
}

#[test]
fn a_third_bad_row_after_another_is_the_fault_of_the_sheet() {
    let mut plan = with_rows([1, 2, 3]);
    plan.rows = 1;
    plan.complete_until(3);
    for _ in 0..MAX_BLAMED {
        let batch = plan.next_batch(0).unwrap();
        plan.refused(batch, "bad".into(), 0);
        let probe = plan.next_batch(0).unwrap();
        plan.written(probe, 0);
        let again = plan.next_batch(0).unwrap();
        plan.refused(again, "bad".into(), 0);
    }
    let batch = plan.next_batch(0).unwrap();
    assert_eq!(plan.refused(batch, "bad".into(), 0), Some("bad".into()));
    assert_eq!(plan.given_up().len(), MAX_BLAMED);
}

#[test]
fn a_full_buffer_is_written_by_half_without_waiting() {
    let mut plan = with_rows([]);
    let long = "x".repeat(1 << 20);
    let mut offset = 0;
    while !plan.is_draining() {
        plan.read(&partition(), offset);
        plan.add(row(offset, 1_000_000 + offset, &long), 0);
        offset += 1;
    }
    let mut written = 0;
    while plan.is_draining() {
        let batch = plan.next_batch(0).unwrap();
        assert_eq!(batch.rows.len(), 1, "a batch has a megabyte");
        written += i64::try_from(plan.written(batch, 0).len()).unwrap();
    }
    assert!(
        (offset / 2..offset).contains(&written),
        "{written} of {offset}"
    );
    assert!(plan.next_batch(0).is_none());
}

#[test]
fn a_mark_that_would_be_too_long_is_shortened_by_writing_the_lowest_offsets() {
    // Every other row is due: each would be a run of its own in the mark.
    let count = 4_000;
    let mut plan = with_rows((0..count).map(|offset| if offset % 2 == 0 { 2 } else { 1 }));
    (plan.rows, plan.limits.rows) = (100, 100);
    plan.complete_until(1);
    let mut written = Vec::new();
    let mut shortened = false;
    while let Some(batch) = plan.next_batch(0) {
        assert!(batch.value.len() <= MAX_BYTES, "{}", batch.value.len());
        shortened |= offsets(&batch).contains(&0);
        written.extend(offsets(&batch));
        plan.written(batch, 0);
    }
    assert!(shortened);
    let missing = (0..count)
        .filter(|offset| offset % 2 == 1 && !written.contains(offset))
        .count();
    assert_eq!(missing, 0, "all that was due is written");
    written.sort_unstable();
    written.dedup();
    assert_eq!(
        written.len() + plan.buffered(),
        usize::try_from(count).unwrap()
    );
}

#[test]
fn dead_letters_alone_move_the_mark() {
    let mut plan = plan(1);
    plan.read(&partition(), 0);
    assert!(plan.next_batch(0).is_none());
    plan.rowless(&partition(), 0);
    let batch = plan.next_batch(0).unwrap();
    assert_eq!(batch.mark.positions.get(&partition()).unwrap().low(), 1);
    plan.written(batch, 0);
    assert!(plan.next_batch(0).is_none());
}

#[test]
fn records_that_were_read_before_are_not_read_again() {
    let mut plan = with_rows([1]);
    assert!(!plan.read(&partition(), 0), "it is in the buffer");
    plan.complete_until(1);
    let batch = plan.next_batch(0).unwrap();
    plan.written(batch, 0);
    let mut restarted = Plan::new(plan.known().clone(), LIMITS);
    assert!(!restarted.read(&partition(), 0), "it is in the sheet");
    assert!(
        restarted.read(&partition(), 3),
        "offsets 1 and 2 are control records"
    );
    assert_eq!(restarted.next(&partition()), Some(4));
}

#[test]
fn a_tab_without_versions_left_is_not_written() {
    let mut plan = plan((1 << 24) - 2);
    plan.read(&partition(), 0);
    plan.add(row(0, 1, ""), 0);
    plan.complete_until(1);
    assert!(plan.next_batch(0).is_none());
    assert!(plan.is_used_up());
    assert_eq!(plan.buffered(), 1);
    // The last version closes it.
    plan.next_spreadsheet = Some("next".to_owned());
    let closing = plan.next_batch(0).unwrap();
    assert_eq!((closing.id, closing.rows.len()), ((1 << 24) - 1, 0));
    plan.written(closing, 0);
    assert!(plan.is_closed() && !plan.is_used_up());
}

#[test]
fn a_full_spreadsheet_is_closed_once_and_without_rows() {
    let full = "above the limit of 10000000 cells".to_owned();
    let mut plan = with_rows([1, 2]).going_on_in(Some("next".to_owned()));
    plan.complete_until(2);
    let batch = plan.next_batch(0).unwrap();
    let id = batch.id;
    assert_eq!(plan.refused(batch, full, 0), None);
    let closing = plan.next_batch(0).unwrap();
    assert_eq!((closing.id, closing.rows.len()), (id, 0));
    assert_eq!(closing.mark.next.as_deref(), Some("next"));
    assert_eq!(closing.mark.positions.get(&partition()).unwrap().low(), 0);
    plan.written(closing, 0);
    assert!(plan.is_closed() && plan.next_batch(0).is_none());
}

#[test]
fn cells_are_counted_and_near_the_limit_the_tab_is_closed() {
    let mut plan = with_rows([1, 2]).going_on_in(Some("next".to_owned()));
    plan.known.cells = ENOUGH_CELLS - 8;
    plan.rows = 1;
    plan.complete_until(2);
    let batch = plan.next_batch(0).unwrap();
    plan.written(batch, 0);
    // A new column with two cells, and a row of four.
    assert_eq!(plan.known().cells, ENOUGH_CELLS - 2);
    let batch = plan.next_batch(0).unwrap();
    assert_eq!(batch.rows.len(), 1);
    plan.written(batch, 0);
    assert!(plan.next_batch(0).unwrap().mark.next.is_some());
}
