//! The simulated world: a log, spreadsheets with Google's rules, owners, and time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use formline_core::record::Partition;

use super::super::{
    batch::{Batch, Follows, Next, Verdict},
    mark::{ENOUGH_CELLS, Entry, Found, Known, MAX_CELLS, Mark},
    plan::{Limits, Plan},
    row::{Cell, Key, Row, Value},
};

const SINK: &str = "formline.app.sheet";
const PARTITIONS: i32 = 2;

/// The sink's spreadsheets, in the order in which they are filled.
const SPREADSHEETS: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// What accepting a submission may take, in milliseconds.
const GRACE: i64 = 1_000;

/// What may happen in a run.
#[derive(Clone, Copy)]
pub(super) struct Mishaps {
    pub(super) late_submissions: bool,
    pub(super) bad_rows: bool,
    /// Whether Google refuses a metadata id that exists. It does.
    pub(super) unique_ids: bool,
    /// The longest that a request is under way, in milliseconds.
    pub(super) under_way: i64,
    /// Whether people fill the spreadsheets, so that the sink must go on in the next one.
    pub(super) full_spreadsheets: bool,
}

// === randomness ===

/// SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: i64) -> i64 {
        i64::try_from(self.next() % end.unsigned_abs()).expect("it is below an i64")
    }

    pub(super) fn one_in(&mut self, count: i64) -> bool {
        self.below(count) == 0
    }
}

// === the spreadsheets ===

/// A spreadsheet with Google's rules, and the sink's tab in it.
#[derive(Default)]
pub(super) struct Sheet {
    exists: bool,
    /// Cells of other tabs.
    cells: u64,
    marks: BTreeMap<i32, String>,
    /// Time, id and note of each row.
    pub(super) rows: Vec<(i64, String, bool)>,
}

impl Sheet {
    fn apply(&mut self, batch: &Batch, mishaps: Mishaps) -> Result<(), String> {
        let creates = matches!(batch.follows, Follows::Nothing { .. });
        if mishaps.unique_ids && (self.marks.contains_key(&batch.id) || creates == self.exists) {
            return Err("exists already".to_owned());
        }
        if batch
            .rows
            .iter()
            .any(|line| mishaps.bad_rows && line.row.key.id.starts_with("bad"))
        {
            return Err("a bad row".to_owned());
        }
        if !batch.rows.is_empty() && self.cells() >= MAX_CELLS {
            return Err(format!("above the limit of {MAX_CELLS} cells"));
        }
        self.exists = true;
        self.marks.insert(batch.id, batch.value.clone());
        if let Some((id, at)) = batch.stripped() {
            self.marks.insert(id, at);
        }
        for id in batch.expired() {
            self.marks.remove(&id);
        }
        let rows = batch
            .rows
            .iter()
            .map(|line| (line.row.key.time, line.row.key.id.clone(), line.late));
        self.rows.extend(rows);
        Ok(())
    }

    fn cells(&self) -> u64 {
        self.cells + 6 * self.rows.len() as u64
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |(id, value): (&i32, &String)| Entry {
            id: *id,
            sheet: 7,
            value: value.clone(),
        };
        self.marks.iter().map(entry).collect()
    }
}

// === an owner ===

/// One life of a sink's process. It knows only what it was told.
#[derive(Default)]
pub(super) struct Owner {
    plan: Option<Plan>,
    read: HashMap<i32, i64>,
    hand: Option<Hand>,
}

/// A batch in hand.
struct Hand {
    batch: Batch,
    open: bool,
    refusal: Option<String>,
}

// === the world ===

pub(super) struct World {
    pub(super) random: Random,
    mishaps: Mishaps,
    now: i64,
    /// Submissions by partition; none is a control record.
    log: Vec<Vec<Option<(i64, String)>>>,
    sheets: [Sheet; SPREADSHEETS.len()],
    /// Requests under way, and when they arrive.
    under_way: Vec<(i64, Batch)>,
    pub(super) dead_letters: BTreeSet<String>,
    pub(super) submitted: BTreeSet<String>,
}

fn partition(number: i32) -> Partition {
    Partition {
        topic: "rows".into(),
        number,
    }
}

impl World {
    pub(super) fn new(seed: u64, mishaps: Mishaps) -> Self {
        Self {
            random: Random(seed),
            mishaps,
            now: 1_700_000_000_000,
            log: vec![Vec::new(); 2],
            sheets: Default::default(),
            under_way: Vec::new(),
            dead_letters: BTreeSet::new(),
            submitted: BTreeSet::new(),
        }
    }

    /// The spreadsheet that a mark was written for.
    fn sheet(&mut self, mark: &Mark) -> &mut Sheet {
        let index = SPREADSHEETS.iter().position(|id| *id == mark.spreadsheet);
        &mut self.sheets[index.expect("marks name a spreadsheet of the sink")]
    }

    /// The rows of all spreadsheets, one after another.
    pub(super) fn rows(&self) -> impl Iterator<Item = &(i64, String, bool)> {
        self.sheets.iter().flat_map(|sheet| &sheet.rows)
    }

    /// How many spreadsheets the sink has come to.
    pub(super) fn used(&self) -> usize {
        self.sheets.iter().filter(|sheet| sheet.exists).count()
    }

    /// People fill a spreadsheet up: nearly, which the next owner sees, or wholly, which Google says. The last one has
    /// room, or rows would wait.
    pub(super) fn fill(&mut self) {
        if self.mishaps.full_spreadsheets {
            let last = SPREADSHEETS.len() - 1;
            let used = self.used().clamp(1, last);
            let wholly = self.random.one_in(2);
            self.sheets[used - 1].cells = if wholly { MAX_CELLS } else { ENOUGH_CELLS };
        }
    }

    pub(super) fn submit(&mut self) {
        // A third one in a row would be taken for a fault of the sheet.
        let few = self
            .submitted
            .iter()
            .filter(|id| id.starts_with("bad"))
            .count()
            < 2;
        let bad = self.mishaps.bad_rows && few && self.random.one_in(6);
        let late = self.mishaps.late_submissions && self.random.one_in(6);
        let longest = if late { 60 * GRACE } else { GRACE };
        let time = (self.now - self.random.below(longest)) * 1000;
        let id = format!("{}{}", if bad { "bad" } else { "id" }, self.submitted.len());
        self.submitted.insert(id.clone());
        let log = usize::from(self.random.one_in(3));
        if self.random.one_in(3) {
            self.log[log].push(None);
        }
        self.log[log].push(Some((time, id)));
    }

    /// Time goes on, and requests arrive.
    pub(super) fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.under_way.sort_by_key(|(at, _)| *at);
        while let Some((at, _)) = self.under_way.first()
            && *at <= self.now
        {
            let (_, batch) = self.under_way.remove(0);
            // Nobody waits for this answer any more.
            let mishaps = self.mishaps;
            let _ = self.sheet(&batch.mark).apply(&batch, mishaps);
        }
    }

    pub(super) fn step(&mut self, owner: &mut Owner, calm: bool) {
        if let Some(hand) = owner.hand.take() {
            return self.carry_out(owner, hand, calm);
        }
        let has_read_all = self.has_read_all(owner);
        let Some(plan) = &mut owner.plan else {
            return self.find(owner);
        };
        match self.random.below(3) {
            0 => self.read(owner),
            1 if has_read_all => plan.complete_until((self.now - GRACE) * 1000),
            _ => {
                let batch = plan.next_batch(self.now);
                owner.hand = batch.map(|batch| Hand {
                    batch,
                    open: false,
                    refusal: None,
                });
                self.park(owner);
            }
        }
    }

    fn find(&mut self, owner: &mut Owner) {
        let mut before = Mark {
            sink: SINK.to_owned(),
            ..Mark::default()
        };
        let mut spreadsheet = SPREADSHEETS[0].to_owned();
        loop {
            let mark = before.opening(&spreadsheet, 7, self.now);
            let (entries, cells) = (self.sheet(&mark).entries(), self.sheet(&mark).cells());
            match Found::among(&entries, SINK, &spreadsheet, self.now) {
                Found::Known(Known { mark, .. }) if mark.next.is_some() => {
                    spreadsheet = mark.next.clone().expect("it was just asked for");
                    before = mark;
                }
                Found::Known(known) => return self.begin(owner, Known { cells, ..known }),
                Found::Nothing => {
                    let batch =
                        Batch::creating(mark, "Responses", &entries).expect("room for a tab");
                    owner.hand = Some(Hand {
                        batch,
                        open: false,
                        refusal: None,
                    });
                    return;
                }
                Found::CopyOf(id) => panic!("not a copy of {id}"),
            }
        }
    }

    fn begin(&mut self, owner: &mut Owner, known: Known) {
        let mut behind = SPREADSHEETS
            .iter()
            .skip_while(|id| **id != known.mark.spreadsheet);
        let next = behind.nth(1).map(|id| (*id).to_owned());
        let plan = Plan::new(
            known,
            Limits {
                rows: 4,
                hold_back_ms: 3_600_000,
            },
        )
        .going_on_in(next);
        let next = |number| plan.next(&partition(number)).unwrap_or(0);
        owner.read = (0..PARTITIONS)
            .map(|number| (number, next(number)))
            .collect();
        owner.plan = Some(plan);
    }

    fn read(&mut self, owner: &mut Owner) {
        let Some(plan) = &mut owner.plan else { return };
        for (number, log) in (0..).zip(&self.log) {
            let next = owner.read.entry(number).or_default();
            for _ in 0..self.random.below(4) {
                let Some(record) = usize::try_from(*next).ok().and_then(|at| log.get(at)) else {
                    break;
                };
                let partition = partition(number);
                if let Some((time, id)) = record
                    && plan.read(&partition, *next)
                {
                    let key = Key {
                        time: *time,
                        id: id.clone(),
                        partition,
                        offset: *next,
                    };
                    let column = format!("column {}", id.len() % 3);
                    let cell = Cell {
                        title: column.clone(),
                        column,
                        value: Value::Bool(true),
                    };
                    plan.add(
                        Row {
                            key,
                            cells: vec![cell],
                            record: None,
                        },
                        self.now,
                    );
                }
                *next += 1;
            }
        }
    }

    fn has_read_all(&self, owner: &Owner) -> bool {
        let read = |number: i32| owner.read.get(&number).copied().unwrap_or_default();
        (0..)
            .zip(&self.log)
            .all(|(number, log)| i64::try_from(log.len()).is_ok_and(|end| end == read(number)))
    }

    fn carry_out(&mut self, owner: &mut Owner, mut hand: Hand, calm: bool) {
        if hand.open || !hand.batch.is_fresh(self.now) {
            match hand.batch.judge(
                &self.sheet(&hand.batch.mark).entries(),
                hand.refusal.as_deref(),
            ) {
                Next::End(verdict) => return self.conclude(owner, hand.batch, verdict),
                Next::Resend => hand.batch.confirm(self.now),
            }
            hand.open = false;
        }
        let fate = if calm { 0 } else { self.random.below(8) };
        let later = self.now + self.random.below(self.mishaps.under_way);
        match fate {
            // Never arrives.
            3 => hand.open = true,
            // Arrives when nobody waits for it any more.
            4 => {
                self.under_way.push((later, hand.batch.clone()));
                hand.open = true;
            }
            // Too many calls.
            5 => {}
            _ => {
                if fate == 6 {
                    self.under_way.push((later, hand.batch.clone()));
                }
                let mishaps = self.mishaps;
                match self.sheet(&hand.batch.mark).apply(&hand.batch, mishaps) {
                    // The answer is lost.
                    _ if fate == 7 => hand.open = true,
                    Ok(()) => return self.conclude(owner, hand.batch, Verdict::Written),
                    Err(why) => (hand.open, hand.refusal) = (true, Some(why)),
                }
            }
        }
        owner.hand = Some(hand);
    }

    fn conclude(&mut self, owner: &mut Owner, batch: Batch, verdict: Verdict) {
        match (verdict, &mut owner.plan) {
            (Verdict::Written, Some(plan)) => {
                plan.written(batch, self.now);
                if plan.is_closed() {
                    owner.plan = None;
                }
                self.park(owner);
            }
            (Verdict::Written, None) => {
                let (known, _) = batch.into_known(self.now);
                self.begin(owner, known);
            }
            (Verdict::Refused(why), Some(plan)) => {
                plan.refused(batch, why, self.now);
                self.park(owner);
            }
            (Verdict::Refused(_) | Verdict::Overtaken | Verdict::Gone, _) => owner.plan = None,
        }
    }

    fn park(&mut self, owner: &mut Owner) {
        let Some(plan) = &mut owner.plan else { return };
        for given_up in plan.given_up() {
            let key = given_up.row.key;
            plan.rowless(&key.partition, key.offset);
            self.dead_letters.insert(key.id);
        }
    }

    /// Everything that goes wrong has gone wrong: one owner works off the rest.
    pub(super) fn finish(&mut self) {
        let mut owner = Owner::default();
        for _ in 0..5_000 {
            self.pass(100);
            self.step(&mut owner, true);
            let written = owner.plan.as_ref().is_some_and(|plan| plan.buffered() == 0);
            if written && owner.hand.is_none() && self.has_read_all(&owner) {
                return self.pass(self.mishaps.under_way);
            }
        }
        panic!("the rest was not worked off");
    }
}
