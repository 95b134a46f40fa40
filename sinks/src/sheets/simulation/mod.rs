//! The algorithm under every mishap: owners crash, come back from the dead, and share a tab; requests are lost,
//! delayed, duplicated, and their answers lost; Google refuses rows; submissions come late. After each run every row
//! stands once, in order, or is flagged. Spreadsheets run full at any point, and the sink goes on in the next. A seed repeats a run.

#![allow(clippy::panic)]

mod world;

use std::collections::BTreeSet;

use self::world::{Mishaps, Owner, World};
use super::mark::{FRESH_MS, KEEP_MS};

fn run(seed: u64, mishaps: Mishaps) -> World {
    let mut world = World::new(seed, mishaps);
    let mut owners = vec![Owner::default()];
    for _ in 0..150 {
        match world.random.below(40) {
            0 => owners.push(Owner::default()),
            1 => owners = vec![Owner::default()],
            2 => world.pass(KEEP_MS / 2),
            3 => world.pass(FRESH_MS + 1),
            4 => world.fill(),
            5..12 => world.submit(),
            _ => {
                // The newest owner is the rightful one; the others do not know yet that they are not.
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

fn violation(world: &World, mishaps: Mishaps) -> Option<String> {
    let mut written = BTreeSet::new();
    let mut last = (i64::MIN, String::new());
    for (time, id, late) in world.rows() {
        if !written.insert(id.clone()) {
            return Some(format!("{id} stands twice"));
        }
        let place = (*time, id.clone());
        if *late != (place < last) {
            return Some(format!("{id} is flagged {late}"));
        }
        if *late && !mishaps.late_submissions {
            return Some(format!("{id} is out of order"));
        }
        last = last.max(place);
    }
    for id in &world.submitted {
        let bad = id.starts_with("bad");
        if written.contains(id) == bad || world.dead_letters.contains(id) != bad {
            return Some(format!("{id} is lost, or parked without reason"));
        }
    }
    None
}

fn check(first: u64, runs: u64, mishaps: Mishaps) {
    let first = std::env::var("SEED").map_or(first, |seed| seed.parse().expect("SEED is a number"));
    let full = std::env::var("FORMLINE_DRILL").is_ok_and(|length| length == "full");
    for seed in first..first + if full { 100 * runs } else { runs } {
        if let Some(violation) = violation(&run(seed, mishaps), mishaps) {
            panic!("SEED={seed}: {violation}");
        }
    }
}

/// How many of 300 runs go wrong in a world that is worse than the real one.
fn count_violations(mishaps: Mishaps) -> usize {
    (0..300)
        .filter(|seed| violation(&run(*seed, mishaps), mishaps).is_some())
        .count()
}

/// Google as it is: 200 s until nobody waits for an answer, and 180 s that it works on a request.
const WITH_GOOGLE: Mishaps = Mishaps {
    late_submissions: false,
    bad_rows: false,
    unique_ids: true,
    under_way: 380_000,
    full_spreadsheets: false,
};

#[test]
fn rows_stand_once_and_in_order_whatever_happens() {
    check(0, 1_500, WITH_GOOGLE);
}

#[test]
fn late_submissions_stand_once_and_are_flagged() {
    check(
        1_000_000,
        1_000,
        Mishaps {
            late_submissions: true,
            ..WITH_GOOGLE
        },
    );
}

#[test]
fn bad_rows_are_parked_and_their_neighbours_are_written() {
    let mishaps = Mishaps {
        bad_rows: true,
        late_submissions: true,
        ..WITH_GOOGLE
    };
    check(2_000_000, 1_000, mishaps);
}

#[test]
fn rows_go_on_in_the_next_spreadsheet_once_and_in_order() {
    let mishaps = Mishaps {
        full_spreadsheets: true,
        ..WITH_GOOGLE
    };
    check(3_000_000, 1_500, mishaps);
    let used = (0..300).map(|seed| run(seed, mishaps).used());
    let [one, all] = used.fold([0, 0], |[one, all], used| {
        [one + usize::from(used == 1), all + usize::from(used == 4)]
    });
    assert!(
        one < 100 && all > 30,
        "{one} of one spreadsheet, {all} of all"
    );
}

#[test]
fn late_and_bad_rows_go_on_in_the_next_spreadsheet_too() {
    let mishaps = Mishaps {
        full_spreadsheets: true,
        late_submissions: true,
        bad_rows: true,
        ..WITH_GOOGLE
    };
    check(4_000_000, 1_500, mishaps);
}

/// If these found nothing, neither would the others.
#[test]
fn the_simulation_finds_rows_that_stand_twice() {
    let wrong = count_violations(Mishaps {
        unique_ids: false,
        ..WITH_GOOGLE
    });
    assert!(wrong > 30, "{wrong} runs with ids that are not unique");
    let wrong = count_violations(Mishaps {
        under_way: 10 * KEEP_MS,
        ..WITH_GOOGLE
    });
    assert!(
        wrong > 0,
        "{wrong} runs with requests that arrive after their mark is gone"
    );
}
