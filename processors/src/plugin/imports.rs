//! The imports of the contract, as a plug-in calls them.

use formline_core::{EventId, event};
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{
    bindings::{
        Processor,
        formline::plugin::{
            input::{self, BatchInfo, Event, Rejection},
            output::{self, OutRecord, SendError},
            runtime::{self, Level},
            state::{self, Entry, StateError},
            types::{self, RejectKind},
        },
    },
    failure::Misuse,
    host::{Host, NO_EVENT, Port, Store},
    wasi,
};
use crate::{
    batch::{Outcome, Output, Parked, Refused},
    state::{self as stores, Broken, Refusal},
};

/// Bytes of key and value of a state entry together; it becomes one record of the changelog.
pub(crate) const ENTRY_LIMIT: usize = 960_000;

/// Bytes of one answer of `scan`.
const SCAN_LIMIT: usize = 16 << 20;

/// A longer code of a rejection is cut: it becomes a label and a header.
const CODE_LIMIT: usize = 64;

/// The port in ids that a plug-in derives for itself. No port has an empty name, so they differ from all record ids.
const OWN_IDS: &str = "";

/// Everything that a plug-in may import.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    Processor::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
    wasi::link(&mut linker)?;
    Ok(linker)
}

impl types::Host for Host {}

// === input ===

/// Longer no event may wait: the rest of its partition waits behind it.
const LONGEST_RETRY: std::time::Duration = std::time::Duration::from_secs(3600);

impl input::Host for Host {
    fn info(&mut self) -> wasmtime::Result<BatchInfo> {
        let batch = self.batch()?;
        let (first_offset, size) = batch.extent();
        Ok(BatchInfo {
            port: batch.source.port.to_string(),
            topic: batch.source.partition.topic.to_string(),
            partition: batch.source.partition.number,
            first_offset,
            size: u32::try_from(size).unwrap_or(u32::MAX),
        })
    }

    fn next(&mut self) -> wasmtime::Result<Option<Event>> {
        let (batch, stores) = self.work()?;
        let event = batch.next(stores).map(|event| Event {
            offset: event.record.offset,
            timestamp_ms: event.record.timestamp_ms,
            key: event.record.key().map(<[u8]>::to_vec),
            value: event.record.value().unwrap_or_default().to_vec(),
            attempt: event.attempts,
        });
        // Only an event brings new time, or a plug-in that asks on behind the last one would never be stopped.
        if event.is_some() {
            self.restart_time();
        }
        Ok(event)
    }

    fn header(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        Ok(event.record.header(&name).map(<[u8]>::to_vec))
    }

    fn skip(&mut self, reason: String) -> wasmtime::Result<()> {
        tracing::debug!(step = &*self.step, reason, "the plug-in skips an event");
        self.refuse(Outcome::Skipped)
    }

    fn reject(&mut self, why: Rejection) -> wasmtime::Result<()> {
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        let attempts = event.attempts + 1;
        let kind = kind(why.kind);
        let code = match why.code.trim() {
            "" => kind.to_owned(),
            code => code[..code.floor_char_boundary(CODE_LIMIT)].to_owned(),
        };
        self.refuse(Outcome::Parked(Parked {
            kind,
            code,
            detail: why.detail,
            attempts,
        }))
    }

    fn retry_later(&mut self, after_ms: u32, reason: String) -> wasmtime::Result<()> {
        tracing::debug!(
            step = &*self.step,
            after_ms,
            reason,
            "the plug-in wants an event later"
        );
        let (batch, stores) = self.work()?;
        let after = std::time::Duration::from_millis(after_ms.into()).min(LONGEST_RETRY);
        if batch.retry_later(after, stores) {
            Ok(())
        } else {
            Err(NO_EVENT.into())
        }
    }
}

impl Host {
    fn refuse(&mut self, outcome: Outcome) -> wasmtime::Result<()> {
        let (batch, stores) = self.work()?;
        if batch.refuse(outcome, stores) {
            Ok(())
        } else {
            Err(NO_EVENT.into())
        }
    }

    fn store_name(&self, handle: &Resource<Store>) -> String {
        self.declared.stores[handle.rep() as usize].name.clone()
    }
}

fn kind(kind: RejectKind) -> &'static str {
    match kind {
        RejectKind::Malformed => "malformed",
        RejectKind::UnsupportedVersion => "unsupported-version",
        RejectKind::ViolatesInvariant => "violates-invariant",
        RejectKind::TooLarge => "too-large",
        RejectKind::Other => "other",
    }
}

/// The handle for a name among those that the plug-in has declared.
fn handle<'a, T: 'static>(
    mut declared: impl Iterator<Item = &'a str>,
    name: &str,
) -> Option<Resource<T>> {
    let index = declared.position(|declared| declared == name)?;
    Some(Resource::new_own(
        u32::try_from(index).expect("a descriptor has few names"),
    ))
}

// === output ===

const EARLY: Misuse = Misuse("the timestamp of a record lies before 1970");

impl output::Host for Host {}

impl output::HostPort for Host {
    fn open(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Port>, output::OpenError>> {
        let ports = self.declared.outputs.iter().map(String::as_str);
        Ok(handle(ports, &name).ok_or(output::OpenError::UnknownPort))
    }

    fn send(
        &mut self,
        port: Resource<Port>,
        record: OutRecord,
    ) -> wasmtime::Result<Result<(), SendError>> {
        if record
            .headers
            .iter()
            .any(|header| event::header::is_reserved(&header.name))
        {
            return Ok(Err(SendError::ReservedHeader));
        }
        // Kafka would take it, and every reader would wonder.
        if record.timestamp_ms.is_some_and(|time| time < 0) {
            return Err(EARLY.into());
        }
        let headers = record
            .headers
            .into_iter()
            .map(|header| (header.name, header.value));
        let output = Output {
            event: 0,
            port: port.rep() as usize,
            n: 0,
            key: record.key,
            value: record.value,
            headers: headers.collect(),
            timestamp_ms: record.timestamp_ms,
        };
        match self.batch()?.send(output) {
            Ok(()) => Ok(Ok(())),
            Err(Refused::NoEvent) => Err(NO_EVENT.into()),
            Err(Refused::TooLarge) => Ok(Err(SendError::RecordTooLarge)),
            Err(Refused::Quota) => Ok(Err(SendError::QuotaExceeded)),
        }
    }

    fn drop(&mut self, _: Resource<Port>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// === state ===

impl state::Host for Host {}

impl Host {
    fn put_entry(
        &mut self,
        store: &Resource<Store>,
        key: &[u8],
        entry: stores::Entry,
    ) -> wasmtime::Result<Result<(), StateError>> {
        let bytes = key.len() + entry.value.len();
        if bytes > ENTRY_LIMIT {
            return Ok(Err(StateError::TooLarge));
        }
        if !self.charge(bytes)? {
            return Ok(Err(StateError::QuotaExceeded));
        }
        let name = self.store_name(store);
        match self.stores.put(&name, key, entry) {
            Ok(()) => Ok(Ok(())),
            Err(Refusal::Full) => Ok(Err(StateError::QuotaExceeded)),
            Err(Refusal::Broken) => Err(Broken.into()),
        }
    }
}

impl state::HostStore for Host {
    fn open(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Store>, state::OpenError>> {
        let stores = self.declared.stores.iter().map(|store| store.name.as_str());
        Ok(handle(stores, &name).ok_or(state::OpenError::UnknownStore))
    }

    fn get(&mut self, store: Resource<Store>, key: Vec<u8>) -> wasmtime::Result<Option<Vec<u8>>> {
        let name = self.store_name(&store);
        Ok(self.stores.get(&name, &key)?)
    }

    fn put(
        &mut self,
        store: Resource<Store>,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), StateError>> {
        self.put_entry(&store, &key, stores::Entry::new(value))
    }

    fn put_for(
        &mut self,
        store: Resource<Store>,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<(), StateError>> {
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        let ttl = i64::try_from(ttl_ms).unwrap_or(i64::MAX);
        let end = event.record.timestamp_ms.saturating_add(ttl);
        let entry = stores::Entry {
            value,
            expires_ms: Some(end),
        };
        self.put_entry(&store, &key, entry)
    }

    fn delete(&mut self, store: Resource<Store>, key: Vec<u8>) -> wasmtime::Result<()> {
        // A deletion costs a record of the changelog as well, but has no way to say that there are too many.
        if !self.charge(key.len())? {
            return Err(Misuse("the event deletes more state than it may").into());
        }
        let name = self.store_name(&store);
        Ok(self.stores.delete(&name, &key)?)
    }

    fn scan(
        &mut self,
        store: Resource<Store>,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: u32,
    ) -> wasmtime::Result<Vec<Entry>> {
        let name = self.store_name(&store);
        let (mut count, mut bytes) = (0, 0);
        let found = self.stores.scan(&name, &prefix, after.as_deref(), |size| {
            count += 1;
            bytes += size;
            count <= limit && bytes <= SCAN_LIMIT
        })?;
        if bytes > SCAN_LIMIT {
            return Err(Misuse("the answer of a scan is too large; ask for fewer entries").into());
        }
        let entries = found.into_iter().map(|(key, entry)| Entry {
            key,
            value: entry.value,
        });
        Ok(entries.collect())
    }

    fn drop(&mut self, _: Resource<Store>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// === runtime ===

impl runtime::Host for Host {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.console.line(level, &message);
        Ok(())
    }

    fn batch_time_ms(&mut self) -> wasmtime::Result<i64> {
        Ok(self.now_ms)
    }

    fn derive_id(&mut self) -> wasmtime::Result<String> {
        let n = self.batch()?.next_id().ok_or(NO_EVENT)?;
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        let identity = event::identity(&event.record);
        Ok(EventId::derived(&identity, &self.step, OWN_IDS, n).to_string())
    }

    fn counter_add(&mut self, name: String, delta: u64) -> wasmtime::Result<()> {
        let counter = self
            .declared
            .counters
            .iter()
            .position(|declared| *declared == name);
        let counter = counter.ok_or(Misuse("describe does not declare that counter"))?;
        self.batch()?.count(counter, delta);
        Ok(())
    }
}
