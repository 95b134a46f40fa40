//! The algorithm under failures of every kind: owners crash, come back as zombies, and share a tab;
//! requests are lost, delayed and duplicated, and their responses are lost; Google rejects rows;
//! submissions arrive late; spreadsheets become full at any time and the sink continues in the next
//! one. After each run, every row is in the sheets exactly once and in order, or is flagged late. A
//! seed repeats a run.

#![allow(clippy::panic)]

mod world;

use std::collections::BTreeSet;

use self::world::{Failures, Owner, World};
use super::log::checkpoint::{MAX_AGE_MS, RETENTION_MS};

fn run(seed: u64, failures: Failures) -> World {
    let mut world = World::new(seed, failures);
    let mut owners = vec![Owner::default()];
    for _ in 0..150 {
        match world.random.below(40) {
            0 => owners.push(Owner::default()),
            1 => owners = vec![Owner::default()],
            2 => world.pass(RETENTION_MS / 2),
            3 => world.pass(MAX_AGE_MS + 1),
            4 => world.fill(),
            5..12 => world.submit(),
            _ => {
                // The newest owner has the partitions. The others do not know yet that they have
                // lost them.
                let newest = owners.len() - 1;
                let zombie =
                    usize::try_from(world.random.next()).unwrap_or_default() % owners.len();
                let index = if world.random.one_in(3) {
                    zombie
                } else {
                    newest
                };
                world.step(&mut owners[index], false);
                world.pass(1 + index as i64);
            }
        }
    }
    world.finish();
    world
}

fn violation(world: &World, failures: Failures) -> Option<String> {
    let mut written = BTreeSet::new();
    let mut last = (i64::MIN, String::new());
    for (time, id, late) in world.rows() {
        if !written.insert(id.clone()) {
            return Some(format!("{id} is written twice"));
        }
        let key = (*time, id.clone());
        if *late != (key < last) {
            return Some(format!("{id} has the late flag {late}"));
        }
        if *late && !failures.late_submissions {
            return Some(format!("{id} is out of order"));
        }
        last = last.max(key);
    }
    for id in &world.submitted {
        let bad = id.starts_with("bad");
        if written.contains(id) == bad || world.dead_letters.contains(id) != bad {
            return Some(format!("{id} is lost, or dead-lettered without reason"));
        }
    }
    None
}

fn check(first: u64, runs: u64, failures: Failures) {
    let first = std::env::var("SEED").map_or(first, |seed| seed.parse().expect("SEED is a number"));
    let full = std::env::var("FORMLINE_DRILL").is_ok_and(|length| length == "full");
    for seed in first..first + if full { 100 * runs } else { runs } {
        if let Some(violation) = violation(&run(seed, failures), failures) {
            panic!("SEED={seed}: {violation}");
        }
    }
}

/// How many of 300 runs violate a guarantee in a world that is worse than the real one.
fn count_violations(failures: Failures) -> usize {
    (0..300)
        .filter(|seed| violation(&run(*seed, failures), failures).is_some())
        .count()
}

/// Google's behaviour: the sink gives up on a response after 200 s, and Google works on a request
/// for 180 s.
const LIKE_GOOGLE: Failures = Failures {
    late_submissions: false,
    bad_rows: false,
    unique_ids: true,
    in_flight: 380_000,
    full_spreadsheets: false,
};

#[test]
fn each_row_is_written_once_and_in_order() {
    check(0, 1_500, LIKE_GOOGLE);
}

#[test]
fn late_submissions_are_written_once_and_flagged() {
    check(
        1_000_000,
        1_000,
        Failures {
            late_submissions: true,
            ..LIKE_GOOGLE
        },
    );
}

#[test]
fn bad_rows_are_dead_lettered_and_the_others_are_written() {
    let failures = Failures {
        bad_rows: true,
        late_submissions: true,
        ..LIKE_GOOGLE
    };
    check(2_000_000, 1_000, failures);
}

#[test]
fn rows_continue_in_the_next_spreadsheet_once_and_in_order() {
    let failures = Failures {
        full_spreadsheets: true,
        ..LIKE_GOOGLE
    };
    check(3_000_000, 1_500, failures);
    let used = (0..300).map(|seed| run(seed, failures).used());
    let [one, all] = used.fold([0, 0], |[one, all], used| {
        [one + usize::from(used == 1), all + usize::from(used == 4)]
    });
    assert!(
        one < 100 && all > 30,
        "{one} runs use one spreadsheet, {all} use all"
    );
}

#[test]
fn late_and_bad_rows_continue_in_the_next_spreadsheet_too() {
    let failures = Failures {
        full_spreadsheets: true,
        late_submissions: true,
        bad_rows: true,
        ..LIKE_GOOGLE
    };
    check(4_000_000, 1_500, failures);
}

/// If the simulation did not find these, it would not find other errors either.
#[test]
fn the_simulation_detects_rows_that_are_written_twice() {
    let wrong = count_violations(Failures {
        unique_ids: false,
        ..LIKE_GOOGLE
    });
    assert!(wrong > 30, "{wrong} runs with ids that are not unique");
    let wrong = count_violations(Failures {
        in_flight: 10 * RETENTION_MS,
        ..LIKE_GOOGLE
    });
    assert!(
        wrong > 0,
        "{wrong} runs with requests that arrive after their checkpoint is deleted"
    );
}
