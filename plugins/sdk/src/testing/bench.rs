//! A host in memory that applies the rules of the contract: savepoints, limits, expiry and reserved
//! headers.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use formline_plugin_contract::{
    self as contract, EventBudget, LIMITS, Refusal, ScanPage, is_alive, is_reserved_header,
    is_timestamp, record_bytes, scan_start,
};

use super::record::{Input, Outcome, Sent};
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

/// A value and its expiry.
#[derive(Debug, Clone)]
struct Stored {
    value: Vec<u8>,
    expires_ms: Option<i64>,
}

/// Limits of a [`Partition`](super::Partition). The default values are those of the host; only
/// `entries` is the test bench's own, because the host limits the bytes of stores instead.
///
/// ```
/// use formline_plugin_sdk::testing::Limits;
///
/// let small = Limits { records_per_event: 2, ..Limits::default() };
/// assert_eq!(small.record_bytes, 960_000);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one record (key, value and headers), and of one entry of a store (key and value).
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
    limits: contract::Limits,
    /// Entries that one store may hold.
    entries: usize,
    outputs: &'static [&'static str],
    pending: VecDeque<Input>,
    next_offset: i64,
    current: Option<Current>,
    outcomes: Vec<Outcome>,
    stores: Stores,
    counters: BTreeMap<&'static str, u64>,
    log: Vec<(Level, String)>,
}

/// The event that the plug-in is processing.
#[derive(Debug)]
struct Current {
    input: Input,
    sent: Vec<Sent>,
    budget: EventBudget,
    /// The stores before the event.
    savepoint: Stores,
    ids: u32,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: LIMITS.record_bytes,
            records_per_event: LIMITS.event_records,
            entries: 1_000_000,
        }
    }
}

impl From<Limits> for contract::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            record_bytes: limits.record_bytes,
            entry_bytes: limits.record_bytes,
            event_records: limits.records_per_event,
            ..LIMITS
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
        let limits = Limits::default();
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
            limits: limits.into(),
            entries: limits.entries,
            outputs,
            pending: VecDeque::new(),
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
        let mut state = self.0.borrow_mut();
        (state.limits, state.entries) = (limits.into(), limits.entries);
    }

    pub(super) fn set_batch_time_ms(&self, batch_time_ms: i64) {
        self.0.borrow_mut().batch_time_ms = Some(batch_time_ms);
    }

    pub(super) fn begin(&self, inputs: impl IntoIterator<Item = Input>) {
        let mut state = self.0.borrow_mut();
        state.pending = inputs.into_iter().collect();
        let times = state.pending.iter().map(|input| input.timestamp_ms);
        state.newest_ms = times.max().unwrap_or(0).max(state.newest_ms);
        state.batch.first_offset = state.next_offset;
        state.batch.size = u32::try_from(state.pending.len()).expect("a test's batch is small");
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

    /// The checks and their order are those of the host.
    fn send(&mut self, port: &str, record: &OutRecord) -> Result<(), SendError> {
        let limits = self.limits;
        let mut headers = record.headers.iter();
        if headers.any(|header| is_reserved_header(&header.name)) {
            return Err(SendError::ReservedHeader);
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            assert!(
                is_timestamp(timestamp_ms),
                "the host stops a plug-in that sends a record with a timestamp before 1970"
            );
        }
        let headers = record.headers.iter();
        let pairs = headers.map(|header| (header.name.as_str(), header.value.as_slice()));
        let bytes = record_bytes(record.key.as_deref(), &record.value, pairs.clone());
        let current = self.current();
        let checked = limits.check_record(bytes);
        checked.and_then(|()| current.budget.send(bytes, &limits))?;
        let sent = Sent {
            port: port.to_owned(),
            key: record.key.clone().or_else(|| current.input.key.clone()),
            value: record.value.clone(),
            headers: pairs
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
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
        if !self.stores.contains_key(store) {
            return None;
        }
        let limits = self.limits;
        let bytes = key.len() + value.len();
        let current = self.current();
        let expires_ms =
            ttl_ms.map(|ttl_ms| contract::expires_ms(current.input.timestamp_ms, ttl_ms));
        let checked = limits.check_entry(bytes);
        if let Err(refusal) = checked.and_then(|()| current.budget.charge(bytes, &limits)) {
            return Some(Err(refusal.into()));
        }
        let capacity = self.entries;
        let entries = self.stores.get_mut(store)?;
        if !entries.contains_key(key) && entries.len() == capacity {
            return Some(Err(StateError::QuotaExceeded));
        }
        let value = value.to_vec();
        entries.insert(key.to_vec(), Stored { value, expires_ms });
        Some(Ok(()))
    }

    /// The time of the current event, at which entries expire.
    fn now_ms(&self) -> i64 {
        let current = self.current.as_ref();
        current.map_or(0, |current| current.input.timestamp_ms)
    }
}

impl From<Refusal> for SendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge => Self::RecordTooLarge,
            Refusal::QuotaExceeded => Self::QuotaExceeded,
        }
    }
}

impl From<Refusal> for StateError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge => Self::TooLarge,
            Refusal::QuotaExceeded => Self::QuotaExceeded,
        }
    }
}

impl Host for Bench {
    fn info(&self) -> BatchInfo {
        self.0.borrow().batch.clone()
    }

    fn next(&self) -> Option<types::Event> {
        let mut state = self.0.borrow_mut();
        state.accept();
        let input = state.pending.pop_front()?;
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
            budget: EventBudget::default(),
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

    fn reject(&self, why: Reject) {
        let mut state = self.0.borrow_mut();
        let current = state.current.take().expect("there is a current event");
        state.stores = current.savepoint;
        if matches!(why, Reject::RetryLater { .. }) {
            state.pending.clear();
            state.next_offset -= 1;
        }
        state.outcomes.push(Err(why));
    }

    fn send(&self, port: &str, record: &OutRecord) -> Option<Result<(), SendError>> {
        let mut state = self.0.borrow_mut();
        let is_declared = state.outputs.contains(&port);
        is_declared.then(|| state.send(port, record))
    }

    fn get(&self, store: &str, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let state = self.0.borrow();
        let now_ms = state.now_ms();
        let entries = state.stores.get(store)?;
        let stored = entries.get(key);
        let alive = stored.filter(|stored| is_alive(stored.expires_ms, now_ms));
        Some(alive.map(|stored| stored.value.clone()))
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
        if !state.stores.contains_key(store) {
            return None;
        }
        let limits = state.limits;
        let charged = state.current().budget.charge(key.len(), &limits);
        assert!(
            charged.is_ok(),
            "the host stops a plug-in that exceeds the event's quota with deletions"
        );
        state.stores.get_mut(store)?.remove(key);
        Some(())
    }

    fn scan(
        &self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Option<Vec<Entry>> {
        let state = self.0.borrow();
        let now_ms = state.now_ms();
        let start = scan_start(prefix, after);
        let range = (Bound::Included(start.as_slice()), Bound::Unbounded);
        let mut page = ScanPage::new(limit);
        let entries = state.stores.get(store)?.range::<[u8], _>(range);
        let found = entries
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, stored)| is_alive(stored.expires_ms, now_ms))
            .take_while(|(key, stored)| page.take(key.len() + stored.value.len()))
            .map(|(key, stored)| (key.clone(), stored.value.clone()))
            .collect();
        assert!(
            !page.is_too_large(),
            "the host stops a plug-in whose scan returns too much; request fewer entries"
        );
        Some(found)
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
