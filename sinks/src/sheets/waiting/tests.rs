//! The scripts on a real Redis, and what they answer.

use formline_core::{
    Shutdown, Telemetry,
    settings::{self, Secret},
};

use super::*;
use crate::sheets::row::tests::row_of;

async fn open(server: &formline_testing::Redis, bound: usize) -> Waiting {
    let place = settings::Redis::Server(Secret::new(server.url()));
    let redis = Redis::open(&place, &Shutdown::new(), &Telemetry::new()).unwrap();
    let waiting = Waiting::new(redis, "app.sheet", "id", bound);
    for number in [1, 2] {
        let begin = Begin {
            partition: partition(number),
            fill: "f".to_owned(),
            start: 0,
            tab: 7,
        };
        waiting.begin(&begin).await.unwrap();
    }
    waiting
}

fn partition(number: i32) -> Partition {
    Partition {
        topic: "rows".into(),
        number,
    }
}

/// Rows of these offsets.
fn put(number: i32, offsets: std::ops::Range<i64>, bytes: usize) -> Put {
    Put {
        partition: partition(number),
        fill: "f".to_owned(),
        expected: offsets.start,
        next: offsets.end,
        due: Some(offsets.end * 1_000),
        rows: offsets
            .map(|offset| row_of(number, offset, bytes))
            .collect(),
    }
}

fn mark() -> Mark {
    Mark {
        began: 7,
        ..Mark::default()
    }
}

#[tokio::test]
async fn a_look_is_bounded_and_says_how_far_it_sees() {
    let server = formline_testing::Redis::start_own().await;
    let waiting = open(&server, 10_000).await;
    for begin in (0..2_500).step_by(500) {
        let put = put(1, begin..begin + 500, 1);
        waiting.put(&put, 0).await.unwrap();
    }
    let done = waiting.put(&put(2, 0..3, 1), 0).await.unwrap();
    assert!(matches!(done, Outcome::Done { count: 2_503, .. }));
    let mut look = waiting.look(0, 40).await.unwrap().unwrap();
    look.filled.sort_by_key(|filled| filled.partition.number);
    assert_eq!((look.tab, look.rows.len()), (Some(7), 40));
    assert!(look.rows.is_sorted_by_key(|(time, _)| *time));
    let offsets = |filled: &Filled| -> Vec<_> {
        let places = filled.lowest.iter();
        places.map(|place| place.offset).collect()
    };
    // Half of the places for each partition.
    let [one, two] = &look.filled[..] else {
        unreachable!("two were begun")
    };
    assert_eq!(offsets(one), (0..500).collect::<Vec<_>>());
    assert_eq!(
        (one.known, offsets(two), two.known),
        (500, vec![0, 1, 2], 3)
    );

    // By whichever name they are known, they go from both orders, in as many scripts as it takes.
    let places: Vec<_> = look.places().cloned().collect();
    waiting.remove(&places, &mark()).await.unwrap();
    let rest: Vec<_> = (500..2_500)
        .map(|offset| Place::of(&row_of(1, offset, 1).key))
        .collect();
    waiting.remove(&rest, &mark()).await.unwrap();
    let look = waiting.look(0, 40).await.unwrap().unwrap();
    assert_eq!((look.rows.len(), look.places().count()), (0, 0));
    assert!(look.filled.iter().any(|filled| filled.known == 2_500));
}

#[tokio::test]
async fn large_records_are_fetched_some_at_a_time() {
    let server = formline_testing::Redis::start_own().await;
    let waiting = open(&server, 100).await;
    let rows = put(1, 0..4, FETCH_BYTES / 3);
    let done = waiting.put(&rows, 0).await.unwrap();
    assert!(matches!(done, Outcome::Done { count: 4, .. }));
    let larger = put(2, 0..1, FETCH_BYTES);
    waiting.put(&larger, 0).await.unwrap();
    let place = |row: &Row| Place::of(&row.key);
    let places: Vec<_> = rows.rows.iter().map(place).collect();
    // Written as text they are a third larger.
    assert_eq!(waiting.fetch(&places).await.unwrap().len(), 2);
    let alone = [place(&larger.rows[0]), places[0].clone()];
    assert_eq!(waiting.fetch(&alone).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_filling_that_begins_anew_takes_its_own_rows_alone_away() {
    let server = formline_testing::Redis::start_own().await;
    let waiting = open(&server, 100).await;
    waiting.put(&put(1, 0..5, 1), 0).await.unwrap();
    waiting.put(&put(2, 0..5, 1), 0).await.unwrap();
    let begin = |tab| Begin {
        partition: partition(1),
        fill: "g".to_owned(),
        start: 3,
        tab,
    };
    waiting.begin(&begin(7)).await.unwrap();
    let look = waiting.look(0, 40).await.unwrap().unwrap();
    let numbers = look.places().map(|place| place.partition.number);
    assert!(numbers.eq([2; 10]));
    let late = waiting.put(&put(1, 5..6, 1), 0).await.unwrap();
    assert_eq!(late, Outcome::Lost, "of the filling before");

    // What was written to another tab waits for this one.
    let places: Vec<_> = look.places().cloned().collect();
    let other = Mark { began: 6, ..mark() };
    waiting.remove(&places, &other).await.unwrap();
    assert_eq!(waiting.look(0, 40).await.unwrap().unwrap().rows.len(), 5);
    waiting.forget(Some(6)).await.unwrap();
    assert_eq!(waiting.look(0, 40).await.unwrap().unwrap().rows.len(), 5);
    waiting.begin(&begin(8)).await.unwrap();
    let look = waiting.look(0, 40).await.unwrap().unwrap();
    assert_eq!(
        (look.tab, look.rows.len(), look.filled.len()),
        (Some(8), 0, 1)
    );
    waiting.forget(look.tab).await.unwrap();
    assert_eq!(waiting.look(0, 40).await.unwrap().unwrap().tab, None);
}

#[test]
fn what_cannot_be_read_is_never_taken_for_absent() {
    let texts = |texts: &[&str]| -> Vec<_> { texts.iter().map(|&text| text.to_owned()).collect() };
    let state = texts(&["tab", "7", "start:3|rows", "5", "next:3|rows", "9"]);
    let row = texts(&["an|id|00000000000000000008|3|rows", "9007199254740992"]);
    let filled = |place: &str| [("3|rows".to_owned(), true, texts(&[place]))];
    let lowest = filled("3|rows|00000000000000000008|an|id");
    let look = Look::read(&state, &row, &lowest).unwrap();
    assert_eq!((look.filled[0].start, look.filled[0].known), (5, 9));
    assert_eq!(look.rows[0].0, MAX_SCORE);
    assert_eq!(look.rows[0].1, look.filled[0].lowest[0]);
    for damaged in [
        ["an|id|8|3|rows", "2.5e+17"],
        ["8|3|rows", "1"],
        ["id|x|3|rows", "1"],
    ] {
        let look = Look::read(&state, &texts(&damaged), &lowest);
        assert!(look.is_none(), "{damaged:?}");
    }
    assert!(Look::read(&state, &row, &filled("3|rows|x|id")).is_none());
    let unfinished = Look::read(&state[..4], &row, &lowest);
    assert!(unfinished.is_none(), "where it was read to");
}
