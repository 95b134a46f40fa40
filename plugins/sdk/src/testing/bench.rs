//! A host in memory that keeps the contract's rules: savepoints, limits and reserved headers.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::{Input, Outcome, Sent};
use crate::bindings::formline::plugin::{
    input::BatchInfo,
    output::{OutRecord, SendError},
    runtime::Level,
    state::StateError,
    types,
};
use crate::host::{Entry, Host};
use crate::{Reject, StoreDeclaration};

type Stores = BTreeMap<&'static str, BTreeMap<Vec<u8>, Stored>>;

/// What stands under a key, and until when.
#[derive(Debug, Clone)]
struct Stored {
    value: Vec<u8>,
    end_ms: Option<i64>,
}

/// What the host refuses.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of key and value of one record, and of one entry of a store.
    pub record_bytes: usize,
    /// Records that one event may send.
    pub records_per_event: usize,
    /// Entries that one store may hold.
    pub entries: usize,
}

#[derive(Debug)]
pub(super) struct Bench(RefCell<State>);

#[derive(Debug)]
struct State {
    batch: BatchInfo,
    batch_time_ms: Option<i64>,
    newest_ms: i64,
    limits: Limits,
    outputs: &'static [&'static str],
    waiting: VecDeque<Input>,
    next_offset: i64,
    current: Option<Current>,
    outcomes: Vec<Outcome>,
    stores: Stores,
    counters: BTreeMap<&'static str, u64>,
    log: Vec<(Level, String)>,
}

/// The event that the plug-in has in hand.
#[derive(Debug)]
struct Current {
    input: Input,
    sent: Vec<Sent>,
    /// The stores as they were before it.
    savepoint: Stores,
    ids: u32,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 1 << 20,
            records_per_event: 1_000,
            entries: 1_000_000,
        }
    }
}

// === impl Bench ===

impl Bench {
    pub(super) fn new(
        port: &str,
        outputs: &'static [&'static str],
        stores: &[StoreDeclaration],
        counters: &[&'static str],
    ) -> Self {
        Self(RefCell::new(State {
            batch: BatchInfo {
                port: port.to_owned(),
                topic: "input".to_owned(),
                partition: 0,
                first_offset: 0,
                size: 0,
            },
            batch_time_ms: None,
            newest_ms: 0,
            limits: Limits::default(),
            outputs,
            waiting: VecDeque::new(),
            next_offset: 0,
            current: None,
            outcomes: Vec::new(),
            stores: stores
                .iter()
                .map(|store| (store.name, BTreeMap::new()))
                .collect(),
            counters: counters.iter().map(|&counter| (counter, 0)).collect(),
            log: Vec::new(),
        }))
    }

    pub(super) fn assign(&self, port: &str, partition: i32) {
        let batch = &mut self.0.borrow_mut().batch;
        batch.port = port.to_owned();
        batch.partition = partition;
    }

    pub(super) fn limit(&self, limits: Limits) {
        self.0.borrow_mut().limits = limits;
    }

    pub(super) fn set_batch_time_ms(&self, batch_time_ms: i64) {
        self.0.borrow_mut().batch_time_ms = Some(batch_time_ms);
    }

    pub(super) fn begin(&self, inputs: impl IntoIterator<Item = Input>) {
        let mut state = self.0.borrow_mut();
        state.waiting = inputs.into_iter().collect();
        let times = state.waiting.iter().map(|input| input.timestamp_ms);
        state.newest_ms = times.max().unwrap_or(0).max(state.newest_ms);
        state.batch.first_offset = state.next_offset;
        state.batch.size = u32::try_from(state.waiting.len()).expect("a test's batch is small");
    }

    pub(super) fn end(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.0.borrow_mut().outcomes)
    }

    pub(super) fn store(&self, name: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let state = self.0.borrow();
        let entries = state.stores.get(name).expect("the store is declared");
        let entries = entries.iter();
        entries
            .map(|(key, stored)| (key.clone(), stored.value.clone()))
            .collect()
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        let state = self.0.borrow();
        *state.counters.get(name).expect("the counter is declared")
    }

    pub(super) fn log_lines(&self) -> Vec<(Level, String)> {
        self.0.borrow().log.clone()
    }
}

// === impl State ===

impl State {
    fn accept(&mut self) {
        if let Some(current) = self.current.take() {
            self.outcomes.push(Ok(current.sent));
        }
    }

    fn current(&mut self) -> &mut Current {
        self.current.as_mut().expect("there is a current event")
    }

    fn send(&mut self, port: &str, record: &OutRecord) -> Result<(), SendError> {
        let limits = self.limits;
        let current = self.current();
        let key = record.key.as_ref().or(current.input.key.as_ref());
        if key.map_or(0, Vec::len) + record.value.len() > limits.record_bytes {
            return Err(SendError::RecordTooLarge);
        }
        if current.sent.len() == limits.records_per_event {
            return Err(SendError::QuotaExceeded);
        }
        if record
            .headers
            .iter()
            .any(|header| is_reserved(&header.name))
        {
            return Err(SendError::ReservedHeader);
        }
        let headers = record.headers.iter();
        let sent = Sent {
            port: port.to_owned(),
            key: key.cloned(),
            value: record.value.clone(),
            headers: headers
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
            timestamp_ms: record.timestamp_ms.unwrap_or(current.input.timestamp_ms),
        };
        current.sent.push(sent);
        Ok(())
    }

    fn put(
        &mut self,
        store: &str,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Option<Result<(), StateError>> {
        let limits = self.limits;
        let now_ms = self.now_ms();
        let end_ms =
            ttl_ms.map(|ttl| now_ms.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)));
        let entries = self.stores.get_mut(store)?;
        if key.len() + value.len() > limits.record_bytes {
            return Some(Err(StateError::TooLarge));
        }
        if !entries.contains_key(key) && entries.len() == limits.entries {
            return Some(Err(StateError::QuotaExceeded));
        }
        let value = value.to_vec();
        entries.insert(key.to_vec(), Stored { value, end_ms });
        Some(Ok(()))
    }

    /// The time of the current event, by which entries end.
    fn now_ms(&self) -> i64 {
        let current = self.current.as_ref();
        current.map_or(0, |current| current.input.timestamp_ms)
    }
}

impl Stored {
    fn is_alive(&self, now_ms: i64) -> bool {
        self.end_ms.is_none_or(|end_ms| now_ms < end_ms)
    }
}

fn is_reserved(header: &str) -> bool {
    header.starts_with("ce_") || header.starts_with("formline-") || header == "traceparent"
}

impl Host for Bench {
    fn info(&self) -> BatchInfo {
        self.0.borrow().batch.clone()
    }

    fn next(&self) -> Option<types::Event> {
        let mut state = self.0.borrow_mut();
        state.accept();
        let input = state.waiting.pop_front()?;
        let event = types::Event {
            offset: state.next_offset,
            timestamp_ms: input.timestamp_ms,
            key: input.key.clone(),
            value: input.value.clone(),
            attempt: input.attempt,
        };
        state.next_offset += 1;
        state.current = Some(Current {
            input,
            sent: Vec::new(),
            savepoint: state.stores.clone(),
            ids: 0,
        });
        Some(event)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        let mut state = self.0.borrow_mut();
        let headers = &state.current().input.headers;
        headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    }

    fn settle(&self, why: Reject) {
        let mut state = self.0.borrow_mut();
        let current = state.current.take().expect("there is a current event");
        state.stores = current.savepoint;
        if matches!(why, Reject::RetryLater { .. }) {
            state.waiting.clear();
            state.next_offset -= 1;
        }
        state.outcomes.push(Err(why));
    }

    fn send(&self, port: &str, record: &OutRecord) -> Option<Result<(), SendError>> {
        let mut state = self.0.borrow_mut();
        state
            .outputs
            .contains(&port)
            .then(|| state.send(port, record))
    }

    fn get(&self, store: &str, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let state = self.0.borrow();
        let now_ms = state.now_ms();
        let alive = |stored: &&Stored| stored.is_alive(now_ms);
        state.stores.get(store).map(|entries| {
            entries
                .get(key)
                .filter(alive)
                .map(|stored| stored.value.clone())
        })
    }

    fn put(&self, store: &str, key: &[u8], value: &[u8]) -> Option<Result<(), StateError>> {
        self.0.borrow_mut().put(store, key, value, None)
    }

    fn put_for(
        &self,
        store: &str,
        key: &[u8],
        value: &[u8],
        ttl_ms: u64,
    ) -> Option<Result<(), StateError>> {
        self.0.borrow_mut().put(store, key, value, Some(ttl_ms))
    }

    fn delete(&self, store: &str, key: &[u8]) -> Option<()> {
        let mut state = self.0.borrow_mut();
        state.stores.get_mut(store).map(|entries| {
            entries.remove(key);
        })
    }

    fn scan(
        &self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Option<Vec<Entry>> {
        let state = self.0.borrow();
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = state
            .stores
            .get(store)?
            .range::<[u8], _>((first, Bound::Unbounded));
        let now_ms = state.now_ms();
        let found = entries
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, stored)| stored.is_alive(now_ms))
            .take(limit as usize)
            .map(|(key, stored)| (key.clone(), stored.value.clone()));
        Some(found.collect())
    }

    fn log(&self, level: Level, message: &str) {
        self.0.borrow_mut().log.push((level, message.to_owned()));
    }

    fn batch_time_ms(&self) -> i64 {
        let state = self.0.borrow();
        state.batch_time_ms.unwrap_or(state.newest_ms)
    }

    fn derive_id(&self) -> String {
        let mut state = self.0.borrow_mut();
        let offset = state.next_offset - 1;
        let current = state.current();
        current.ids += 1;
        format!("id-{offset}-{}", current.ids)
    }

    fn counter_add(&self, name: &str, delta: u64) {
        let mut state = self.0.borrow_mut();
        *state
            .counters
            .get_mut(name)
            .expect("the counter is declared") += delta;
    }
}
