//! The simulated world: a log, spreadsheets with Google's rules, owners, and time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use formline_core::kafka::record::Partition;

use crate::sheets::{
    log::{
        batch::{BatchOutcome, BatchStatus, Predecessor, SheetBatch},
        checkpoint::{
            Checkpoint, FULL_CELLS, FoundCheckpoint, KnownCheckpoint, MAX_CELLS, MetadataEntry,
        },
        row::{Cell, CellValue, RowKey, SheetRow},
    },
    plan::planner::{Limits, Planner},
};

const SINK: &str = "formline.app.sheet";
const PARTITIONS: i32 = 2;

/// The spreadsheets of the sink, in the order in which they are filled.
const SPREADSHEETS: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// The longest time from the submission of a row to its record, in milliseconds.
const GRACE: i64 = 1_000;

/// The failures that may happen in a run.
#[derive(Clone, Copy)]
pub(super) struct Failures {
    pub(super) late_submissions: bool,
    pub(super) bad_rows: bool,
    /// Whether Google rejects a metadata id that exists, as the real one does.
    pub(super) unique_ids: bool,
    /// The longest time for which a request is in flight, in milliseconds.
    pub(super) in_flight: i64,
    /// Whether users fill the spreadsheets, so that the sink must continue in the next one.
    pub(super) full_spreadsheets: bool,
}

// === impl Random ===

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

// === impl Sheet ===

/// A spreadsheet with Google's rules, and the sink's tab in it.
#[derive(Default)]
pub(super) struct Sheet {
    exists: bool,
    /// Cells of other tabs.
    cells: u64,
    checkpoints: BTreeMap<i32, String>,
    /// Time, id and late flag of each row.
    pub(super) rows: Vec<(i64, String, bool)>,
}

impl Sheet {
    fn apply(&mut self, batch: &SheetBatch, failures: Failures) -> Result<(), String> {
        let creates = matches!(batch.predecessor, Predecessor::NewTab { .. });
        if failures.unique_ids
            && (self.checkpoints.contains_key(&batch.checkpoint_id) || creates == self.exists)
        {
            return Err("the id exists".to_owned());
        }
        if batch
            .rows
            .iter()
            .any(|row| failures.bad_rows && row.row.key.id.starts_with("bad"))
        {
            return Err("a bad row".to_owned());
        }
        if !batch.rows.is_empty() && self.cells() >= MAX_CELLS {
            return Err(format!("above the limit of {MAX_CELLS} cells"));
        }
        self.exists = true;
        self.checkpoints
            .insert(batch.checkpoint_id, batch.checkpoint_json.clone());
        if let Some((id, at)) = batch.stripped() {
            self.checkpoints.insert(id, at);
        }
        for id in batch.expired() {
            self.checkpoints.remove(&id);
        }
        let rows = batch
            .rows
            .iter()
            .map(|row| (row.row.key.time, row.row.key.id.clone(), row.is_late));
        self.rows.extend(rows);
        Ok(())
    }

    fn cells(&self) -> u64 {
        self.cells + 6 * self.rows.len() as u64
    }

    fn entries(&self) -> Vec<MetadataEntry> {
        let entry = |(id, value): (&i32, &String)| MetadataEntry {
            id: *id,
            sheet_id: 7,
            value: value.clone(),
        };
        self.checkpoints.iter().map(entry).collect()
    }
}

/// One process of the sink. It knows only what it has read.
#[derive(Default)]
pub(super) struct Owner {
    planner: Option<Planner>,
    read: HashMap<i32, i64>,
    delivery: Option<Delivery>,
}

/// A batch that is being delivered.
struct Delivery {
    batch: SheetBatch,
    is_open: bool,
    rejection: Option<String>,
}

pub(super) struct World {
    pub(super) random: Random,
    failures: Failures,
    now: i64,
    /// Submissions by partition; `None` is a control record.
    log: Vec<Vec<Option<(i64, String)>>>,
    sheets: [Sheet; SPREADSHEETS.len()],
    /// Requests in flight, and when they arrive.
    in_flight: Vec<(i64, SheetBatch)>,
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
    pub(super) fn new(seed: u64, failures: Failures) -> Self {
        Self {
            random: Random(seed),
            failures,
            now: 1_700_000_000_000,
            log: vec![Vec::new(); 2],
            sheets: Default::default(),
            in_flight: Vec::new(),
            dead_letters: BTreeSet::new(),
            submitted: BTreeSet::new(),
        }
    }

    /// The spreadsheet for which a checkpoint was written.
    fn sheet(&mut self, checkpoint: &Checkpoint) -> &mut Sheet {
        let index = SPREADSHEETS
            .iter()
            .position(|id| *id == checkpoint.spreadsheet);
        &mut self.sheets[index.expect("a checkpoint names a spreadsheet of the sink")]
    }

    /// The rows of all spreadsheets, one after another.
    pub(super) fn rows(&self) -> impl Iterator<Item = &(i64, String, bool)> {
        self.sheets.iter().flat_map(|sheet| &sheet.rows)
    }

    /// How many spreadsheets have a tab of the sink.
    pub(super) fn used(&self) -> usize {
        self.sheets.iter().filter(|sheet| sheet.exists).count()
    }

    /// Users fill a spreadsheet: nearly, which the next owner notices, or completely, which Google
    /// reports. The last one keeps room, because rows would wait otherwise.
    pub(super) fn fill(&mut self) {
        if self.failures.full_spreadsheets {
            let last = SPREADSHEETS.len() - 1;
            let used = self.used().clamp(1, last);
            let wholly = self.random.one_in(2);
            self.sheets[used - 1].cells = if wholly { MAX_CELLS } else { FULL_CELLS };
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
        let bad = self.failures.bad_rows && few && self.random.one_in(6);
        let late = self.failures.late_submissions && self.random.one_in(6);
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

    /// Advances time and applies the requests that arrive.
    pub(super) fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.in_flight.sort_by_key(|(at, _)| *at);
        while let Some((at, _)) = self.in_flight.first()
            && *at <= self.now
        {
            let (_, batch) = self.in_flight.remove(0);
            // No owner waits for this response any more.
            let failures = self.failures;
            let _ = self.sheet(&batch.checkpoint).apply(&batch, failures);
        }
    }

    pub(super) fn step(&mut self, owner: &mut Owner, is_calm: bool) {
        if let Some(delivery) = owner.delivery.take() {
            return self.send(owner, delivery, is_calm);
        }
        let has_read_all = self.has_read_all(owner);
        let Some(planner) = &mut owner.planner else {
            return self.find(owner);
        };
        match self.random.below(3) {
            0 => self.read(owner),
            1 if has_read_all => planner.advance_watermark((self.now - GRACE) * 1000),
            _ => {
                let batch = planner.next_batch(self.now);
                owner.delivery = batch.map(|batch| Delivery {
                    batch,
                    is_open: false,
                    rejection: None,
                });
                self.dead_letter(owner);
            }
        }
    }

    fn find(&mut self, owner: &mut Owner) {
        let mut previous = Checkpoint {
            sink: SINK.to_owned(),
            ..Checkpoint::default()
        };
        let mut spreadsheet = SPREADSHEETS[0].to_owned();
        loop {
            let checkpoint = previous.continued_in(&spreadsheet, 7, self.now);
            let (entries, cells) = (
                self.sheet(&checkpoint).entries(),
                self.sheet(&checkpoint).cells(),
            );
            match FoundCheckpoint::find(&entries, SINK, &spreadsheet, self.now) {
                FoundCheckpoint::Newest(KnownCheckpoint { checkpoint, .. })
                    if checkpoint.continues_in.is_some() =>
                {
                    spreadsheet = checkpoint
                        .continues_in
                        .clone()
                        .expect("the guard has checked it");
                    previous = checkpoint;
                }
                FoundCheckpoint::Newest(known) => {
                    return self.begin(owner, KnownCheckpoint { cells, ..known });
                }
                FoundCheckpoint::Missing => {
                    let batch = SheetBatch::creating_tab(checkpoint, "Responses", &entries)
                        .expect("there is room for a tab");
                    owner.delivery = Some(Delivery {
                        batch,
                        is_open: false,
                        rejection: None,
                    });
                    return;
                }
                FoundCheckpoint::CopyOf(id) => panic!("not a copy of {id}"),
            }
        }
    }

    fn begin(&mut self, owner: &mut Owner, known: KnownCheckpoint) {
        let mut following = SPREADSHEETS
            .iter()
            .skip_while(|id| **id != known.checkpoint.spreadsheet);
        let next = following.nth(1).map(|id| (*id).to_owned());
        let planner = Planner::new(
            known,
            Limits {
                rows: 4,
                hold_back_ms: 3_600_000,
            },
        )
        .with_next_spreadsheet(next);
        let next = |number| planner.next(&partition(number)).unwrap_or(0);
        owner.read = (0..PARTITIONS)
            .map(|number| (number, next(number)))
            .collect();
        owner.planner = Some(planner);
    }

    fn read(&mut self, owner: &mut Owner) {
        let Some(planner) = &mut owner.planner else {
            return;
        };
        for (number, log) in (0..).zip(&self.log) {
            let next = owner.read.entry(number).or_default();
            for _ in 0..self.random.below(4) {
                let Some(record) = usize::try_from(*next).ok().and_then(|at| log.get(at)) else {
                    break;
                };
                let partition = partition(number);
                if let Some((time, id)) = record
                    && planner.read(&partition, *next)
                {
                    let key = RowKey {
                        time: *time,
                        id: id.clone(),
                        partition,
                        offset: *next,
                    };
                    let column = format!("column {}", id.len() % 3);
                    let cell = Cell {
                        title: column.clone(),
                        column,
                        value: CellValue::Bool(true),
                    };
                    planner.add(
                        SheetRow {
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

    fn send(&mut self, owner: &mut Owner, mut delivery: Delivery, is_calm: bool) {
        if delivery.is_open || !delivery.batch.is_fresh(self.now) {
            match delivery.batch.status(
                &self.sheet(&delivery.batch.checkpoint).entries(),
                delivery.rejection.as_deref(),
            ) {
                BatchStatus::Resolved(outcome) => {
                    return self.conclude(owner, delivery.batch, outcome);
                }
                BatchStatus::Resend => delivery.batch.confirm(self.now),
            }
            delivery.is_open = false;
        }
        let fate = if is_calm { 0 } else { self.random.below(8) };
        let later = self.now + self.random.below(self.failures.in_flight);
        match fate {
            // The request is lost.
            3 => delivery.is_open = true,
            // The request arrives after the owner has given up on the response.
            4 => {
                self.in_flight.push((later, delivery.batch.clone()));
                delivery.is_open = true;
            }
            // Too many calls.
            5 => {}
            _ => {
                if fate == 6 {
                    self.in_flight.push((later, delivery.batch.clone()));
                }
                let failures = self.failures;
                match self
                    .sheet(&delivery.batch.checkpoint)
                    .apply(&delivery.batch, failures)
                {
                    // The response is lost.
                    _ if fate == 7 => delivery.is_open = true,
                    Ok(()) => return self.conclude(owner, delivery.batch, BatchOutcome::Written),
                    Err(why) => (delivery.is_open, delivery.rejection) = (true, Some(why)),
                }
            }
        }
        owner.delivery = Some(delivery);
    }

    fn conclude(&mut self, owner: &mut Owner, batch: SheetBatch, outcome: BatchOutcome) {
        match (outcome, &mut owner.planner) {
            (BatchOutcome::Written, Some(planner)) => {
                planner.written(batch, self.now);
                if planner.is_closed() {
                    owner.planner = None;
                }
                self.dead_letter(owner);
            }
            (BatchOutcome::Written, None) => {
                let (known, _) = batch.into_known(self.now);
                self.begin(owner, known);
            }
            (BatchOutcome::Rejected(why), Some(planner)) => {
                planner.rejected(batch, why, self.now);
                self.dead_letter(owner);
            }
            (
                BatchOutcome::Rejected(_) | BatchOutcome::Superseded | BatchOutcome::TabChanged,
                _,
            ) => owner.planner = None,
        }
    }

    fn dead_letter(&mut self, owner: &mut Owner) {
        let Some(planner) = &mut owner.planner else {
            return;
        };
        for rejected in planner.take_rejected() {
            let key = rejected.row.key;
            planner.skip(&key.partition, key.offset);
            self.dead_letters.insert(key.id);
        }
    }

    /// Ends all failures: one owner writes the remaining rows.
    pub(super) fn finish(&mut self) {
        let mut owner = Owner::default();
        for _ in 0..5_000 {
            self.pass(100);
            self.step(&mut owner, true);
            let is_written = owner
                .planner
                .as_ref()
                .is_some_and(|planner| planner.buffered() == 0);
            if is_written && owner.delivery.is_none() && self.has_read_all(&owner) {
                return self.pass(self.failures.in_flight);
            }
        }
        panic!("rows were left over");
    }
}
