//! Runs the scripts on a real Redis.

use formline_core::{Secret, Shutdown, Telemetry, settings};

use super::*;
use crate::sheets::{buffer::redis_snapshot::FilledPartition, log::row::tests::row_of};

async fn open(server: &formline_testing::Redis, max_rows: usize) -> RedisQueue {
    let endpoint = settings::Redis::Server(Secret::new(server.url()));
    let redis = Redis::open(&endpoint, &Shutdown::new(), &Telemetry::new()).unwrap();
    let queue = RedisQueue::new(redis, "app.sheet", "id", max_rows);
    for number in [1, 2] {
        let fill = Fill {
            partition: partition(number),
            id: "f".to_owned(),
            start: 0,
            tab: 7,
        };
        queue.start_fill(&fill).await.unwrap();
    }
    queue
}

fn partition(number: i32) -> Partition {
    Partition {
        topic: "rows".into(),
        number,
    }
}

/// A write with a row at each of these offsets.
fn write(number: i32, offsets: std::ops::Range<i64>, bytes: usize) -> QueueWrite {
    QueueWrite {
        partition: partition(number),
        fill_id: "f".to_owned(),
        expected: offsets.start,
        next: offsets.end,
        due: Some(offsets.end * 1_000),
        rows: offsets
            .map(|offset| row_of(number, offset, bytes))
            .collect(),
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        first_created_ms: 7,
        ..Checkpoint::default()
    }
}

#[tokio::test]
async fn a_snapshot_is_limited_and_tells_how_far_it_reaches() {
    let server = formline_testing::Redis::start_own().await;
    let queue = open(&server, 10_000).await;
    for begin in (0..2_500).step_by(500) {
        let write = write(1, begin..begin + 500, 1);
        queue.write(&write, 0).await.unwrap();
    }
    let done = queue.write(&write(2, 0..3, 1), 0).await.unwrap();
    assert!(matches!(done, WriteOutcome::Done { count: 2_503, .. }));
    let mut snapshot = queue.snapshot(0, 40).await.unwrap().unwrap();
    snapshot
        .filled
        .sort_by_key(|filled| filled.partition.number);
    assert_eq!((snapshot.tab, snapshot.rows.len()), (Some(7), 40));
    assert!(snapshot.rows.is_sorted_by_key(|(time, _)| *time));
    let offsets = |filled: &FilledPartition| -> Vec<_> {
        let rows = filled.lowest.iter();
        rows.map(|place| place.offset).collect()
    };
    // Each partition gets half of the limit.
    let [one, two] = &snapshot.filled[..] else {
        unreachable!("there are two fills")
    };
    assert_eq!(offsets(one), (0..500).collect::<Vec<_>>());
    assert_eq!(
        (one.known, offsets(two), two.known),
        (500, vec![0, 1, 2], 3)
    );

    // Rows are removed from both sorted sets whichever name they were found by, in as many scripts
    // as it takes.
    let rows: Vec<_> = snapshot.all_rows().cloned().collect();
    queue.remove(&rows, &checkpoint()).await.unwrap();
    let rest: Vec<_> = (500..2_500)
        .map(|offset| QueuedRow::of(&row_of(1, offset, 1).key))
        .collect();
    queue.remove(&rest, &checkpoint()).await.unwrap();
    let snapshot = queue.snapshot(0, 40).await.unwrap().unwrap();
    assert_eq!((snapshot.rows.len(), snapshot.all_rows().count()), (0, 0));
    assert!(snapshot.filled.iter().any(|filled| filled.known == 2_500));
}

#[tokio::test]
async fn large_records_are_fetched_a_few_at_a_time() {
    let server = formline_testing::Redis::start_own().await;
    let queue = open(&server, 100).await;
    let rows = write(1, 0..4, FETCH_BYTES / 3);
    let done = queue.write(&rows, 0).await.unwrap();
    assert!(matches!(done, WriteOutcome::Done { count: 4, .. }));
    let larger = write(2, 0..1, FETCH_BYTES);
    queue.write(&larger, 0).await.unwrap();
    let place = |row: &SheetRow| QueuedRow::of(&row.key);
    let rows: Vec<_> = rows.rows.iter().map(place).collect();
    // The stored form is a third larger, because it is base64.
    assert_eq!(queue.fetch(&rows).await.unwrap().len(), 2);
    let alone = [place(&larger.rows[0]), rows[0].clone()];
    assert_eq!(queue.fetch(&alone).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_fill_removes_only_the_rows_of_its_own_partition() {
    let server = formline_testing::Redis::start_own().await;
    let queue = open(&server, 100).await;
    queue.write(&write(1, 0..5, 1), 0).await.unwrap();
    queue.write(&write(2, 0..5, 1), 0).await.unwrap();
    let fill = |tab| Fill {
        partition: partition(1),
        id: "g".to_owned(),
        start: 3,
        tab,
    };
    queue.start_fill(&fill(7)).await.unwrap();
    let snapshot = queue.snapshot(0, 40).await.unwrap().unwrap();
    let numbers = snapshot.all_rows().map(|place| place.partition.number);
    assert!(numbers.eq([2; 10]));
    let late = queue.write(&write(1, 5..6, 1), 0).await.unwrap();
    assert_eq!(late, WriteOutcome::Lost, "of the earlier fill");

    // Rows that were written to another tab stay.
    let rows: Vec<_> = snapshot.all_rows().cloned().collect();
    let other = Checkpoint {
        first_created_ms: 6,
        ..checkpoint()
    };
    queue.remove(&rows, &other).await.unwrap();
    assert_eq!(queue.snapshot(0, 40).await.unwrap().unwrap().rows.len(), 5);
    queue.clear(Some(6)).await.unwrap();
    assert_eq!(queue.snapshot(0, 40).await.unwrap().unwrap().rows.len(), 5);
    queue.start_fill(&fill(8)).await.unwrap();
    let snapshot = queue.snapshot(0, 40).await.unwrap().unwrap();
    assert_eq!(
        (snapshot.tab, snapshot.rows.len(), snapshot.filled.len()),
        (Some(8), 0, 1)
    );
    queue.clear(snapshot.tab).await.unwrap();
    assert_eq!(queue.snapshot(0, 40).await.unwrap().unwrap().tab, None);
}

#[test]
fn damaged_data_is_never_taken_for_missing_data() {
    let texts = |texts: &[&str]| -> Vec<_> { texts.iter().map(|&text| text.to_owned()).collect() };
    let state = texts(&["tab", "7", "start:3|rows", "5", "next:3|rows", "9"]);
    let row = texts(&["an|id|00000000000000000008|3|rows", "9007199254740992"]);
    let filled = |place: &str| [("3|rows".to_owned(), true, texts(&[place]))];
    let lowest = filled("3|rows|00000000000000000008|an|id");
    let snapshot = Snapshot::read(&state, &row, &lowest).unwrap();
    assert_eq!((snapshot.filled[0].start, snapshot.filled[0].known), (5, 9));
    assert_eq!(snapshot.rows[0].0, MAX_SCORE);
    assert_eq!(snapshot.rows[0].1, snapshot.filled[0].lowest[0]);
    for damaged in [
        ["an|id|8|3|rows", "2.5e+17"],
        ["8|3|rows", "1"],
        ["id|x|3|rows", "1"],
    ] {
        let snapshot = Snapshot::read(&state, &texts(&damaged), &lowest);
        assert!(snapshot.is_none(), "{damaged:?}");
    }
    assert!(Snapshot::read(&state, &row, &filled("3|rows|x|id")).is_none());
    let unfinished = Snapshot::read(&state[..4], &row, &lowest);
    assert!(unfinished.is_none(), "the end of the partition is missing");
}

/// Redis holds queues of earlier versions, and operators name their keys.
#[tokio::test]
async fn the_keys_and_names_in_redis_do_not_change() {
    let endpoint = settings::Redis::Server(Secret::new("redis://127.0.0.1:1"));
    let redis = Redis::open(&endpoint, &Shutdown::new(), &Telemetry::new()).unwrap();
    let queue = RedisQueue::new(redis, "app.sheet", "id", 1);
    let keys = [
        "{app.sheet:id}:rows",
        "{app.sheet:id}:payloads",
        "{app.sheet:id}:state",
        "{app.sheet:id}:held",
        "{app.sheet:id}:offsets",
    ];
    assert_eq!(queue.keys, keys);
    let row = QueuedRow::of(&row_of(3, 8, 1).key);
    assert_eq!(row.member(), "id-3|8|00000000000000000008|3|rows");
    assert_eq!(row.by_offset(), "3|rows|00000000000000000008|id-3|8");
}

/// Redis holds queues of earlier versions, which a later one continues.
#[tokio::test]
async fn the_fields_of_the_state_in_redis_do_not_change() {
    let server = formline_testing::Redis::start_own().await;
    let queue = open(&server, 2).await;
    let expect = |others: &[&str]| {
        let of_fills = [
            "fill:1|rows",
            "fill:2|rows",
            "next:1|rows",
            "next:2|rows",
            "start:1|rows",
            "start:2|rows",
            "tab",
        ];
        let mut expected = [&of_fills[..], others].concat();
        expected.sort_unstable();
        let found = server.ask(&["hkeys", "{app.sheet:id}:state"]);
        let mut found: Vec<_> = found.lines().collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    };
    expect(&[]);

    let written = write(1, 0..2, 1);
    queue.write(&written, 5).await.unwrap();
    expect(&["count", "due:1|rows"]);
    let full = queue.write(&write(2, 0..1, 1), 5).await.unwrap();
    assert_eq!(full, WriteOutcome::Full);
    expect(&["count", "due:1|rows", "full"]);
    queue.snapshot(6, 40).await.unwrap().unwrap();
    expect(&["count", "due:1|rows", "full", "held"]);

    let rows = written.rows.iter();
    let rows: Vec<_> = rows.map(|row| QueuedRow::of(&row.key)).collect();
    let mut checkpoint = checkpoint();
    checkpoint.positions.of(&partition(1), 2);
    queue.remove(&rows, &checkpoint).await.unwrap();
    expect(&["count", "due:1|rows", "held", "low:1|rows"]);
}
