//! The seam between the SDK and whoever runs the plug-in: the contract's imports, in one trait.
//! In a component it is the Formline host; in an author's tests it is `testing`.

use std::cell::OnceCell;

use crate::bindings::formline::plugin::{
    input::BatchInfo,
    output::{OutRecord, SendError},
    runtime::Level,
    state::StateError,
    types,
};
use crate::{Event, Outputs, Plugin, Reject};

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Where an answer is `None` on the outside, the plug-in has not declared that port or store.
pub(crate) trait Host {
    fn info(&self) -> BatchInfo;
    fn next(&self) -> Option<types::Event>;
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    fn settle(&self, why: Reject);
    fn send(&self, port: &str, record: &OutRecord) -> Option<Result<(), SendError>>;
    fn get(&self, store: &str, key: &[u8]) -> Option<Option<Vec<u8>>>;
    fn put(&self, store: &str, key: &[u8], value: &[u8]) -> Option<Result<(), StateError>>;
    fn put_for(
        &self,
        store: &str,
        key: &[u8],
        value: &[u8],
        ttl_ms: u64,
    ) -> Option<Result<(), StateError>>;
    fn delete(&self, store: &str, key: &[u8]) -> Option<()>;
    fn scan(
        &self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Option<Vec<Entry>>;
    fn log(&self, level: Level, message: &str);
    fn batch_time_ms(&self) -> i64;
    fn derive_id(&self) -> String;
    fn counter_add(&self, name: &str, delta: u64);
}

/// Works through the host's current batch. Asking for the next event accepts the one before.
pub(crate) fn process_batch<P: Plugin>(plugin: &mut P, host: &dyn Host) {
    let batch = OnceCell::new();
    while let Some(record) = host.next() {
        let event = Event::new(&batch, record, host);
        if let Err(reject) = plugin.process(&event, &mut Outputs::new(host)) {
            host.settle(reject);
        }
    }
}
