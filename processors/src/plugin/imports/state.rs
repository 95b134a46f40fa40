//! The interface `state`: the stores of the current partition.

use formline_plugin_contract::{LIMITS, ScanPage, expires_ms};
use wasmtime::component::Resource;

use crate::{
    plugin::{
        bindings::formline::plugin::state::{Entry, Host, HostStore, OpenError, StateError},
        failure::Misuse,
        handles::{self, Store},
        host_state::{HostState, NO_EVENT},
    },
    state::{self, PutError, StoreFailed},
};

// === impl HostState ===

impl Host for HostState {}

impl HostState {
    fn store_name(&self, handle: &Resource<Store>) -> String {
        self.declared.stores[handle.rep() as usize].name.clone()
    }

    fn put_entry(
        &mut self,
        store: &Resource<Store>,
        key: &[u8],
        entry: state::Entry,
    ) -> wasmtime::Result<Result<(), StateError>> {
        let bytes = key.len() + entry.value.len();
        if LIMITS.check_entry(bytes).is_err() {
            return Ok(Err(StateError::TooLarge));
        }
        if !self.charge(bytes)? {
            return Ok(Err(StateError::QuotaExceeded));
        }
        let name = self.store_name(store);
        match self.stores.put(&name, key, entry) {
            Ok(()) => Ok(Ok(())),
            Err(PutError::Full) => Ok(Err(StateError::QuotaExceeded)),
            Err(PutError::Failed) => Err(StoreFailed.into()),
        }
    }
}

impl HostStore for HostState {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Store>, OpenError>> {
        let stores = self.declared.stores.iter().map(|store| store.name.as_str());
        Ok(handles::open(stores, &name).ok_or(OpenError::UnknownStore))
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
        self.put_entry(&store, &key, state::Entry::new(value))
    }

    fn put_for(
        &mut self,
        store: Resource<Store>,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<(), StateError>> {
        let event = self.batch()?.event().ok_or(NO_EVENT)?;
        let expires_ms = Some(expires_ms(event.record.timestamp_ms, ttl_ms));
        self.put_entry(&store, &key, state::Entry { value, expires_ms })
    }

    fn delete(&mut self, store: Resource<Store>, key: Vec<u8>) -> wasmtime::Result<()> {
        // A deletion needs a changelog record, too, but its signature has no error to return.
        if !self.charge(key.len())? {
            return Err(Misuse("the event exceeds its quota with deletions").into());
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
        let mut page = ScanPage::new(limit);
        let after = after.as_deref();
        let found = self
            .stores
            .scan(&name, &prefix, after, |bytes| page.take(bytes))?;
        if page.is_too_large() {
            return Err(Misuse("the result of a scan is too large; request fewer entries").into());
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
