//! The interface between the SDK and the host: the imports of the contract, in one trait. In a
//! component the Formline host implements it, in native tests the module `testing`.

use crate::Reject;
use crate::bindings::formline::plugin::{
    input::BatchInfo,
    output::{OutRecord, SendError},
    runtime::Level,
    state::StateError,
    types,
};

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// `None` as the outer result means that the plug-in does not declare the port or store.
pub(crate) trait Host {
    fn info(&self) -> BatchInfo;
    fn next(&self) -> Option<types::Event>;
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    fn reject(&self, why: Reject);
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
