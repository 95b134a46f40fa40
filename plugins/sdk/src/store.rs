//! Keyed state of the current partition.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Reject;
use crate::bindings::formline::plugin::state::StateError;
use crate::host::{Entry, Host};

/// One of the plug-in's stores. It contains what earlier events of the partition have stored, on
/// any machine. Keys are sorted by their bytes.
///
/// Every method fails with `unknown-store` for a name that
/// [`Plugin::STORES`](crate::Plugin::STORES) does not contain.
///
/// ```
/// # use formline_plugin_sdk::prelude::*;
/// /// Skips a submission that this partition has received before.
/// fn once(event: &Event, out: &mut Outputs) -> Result<(), Reject> {
///     let mut seen = out.store("seen");
///     if seen.get(event.value())?.is_some() {
///         return Err(Reject::skip("seen-before"));
///     }
///     seen.put(event.value(), b"")?;
///     out.send("new", Record::new(event.value()))
/// }
/// ```
pub struct Store<'host> {
    host: &'host dyn Host,
    name: &'static str,
}

// === impl Store ===

impl<'host> Store<'host> {
    pub(crate) fn new(host: &'host dyn Host, name: &'static str) -> Self {
        Self { host, name }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `unknown-store`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Reject> {
        self.known(self.host.get(self.name, key.as_ref()))
    }

    /// The value of `key` that [`put_json`](Self::put_json) has written.
    ///
    /// # Errors
    /// `unknown-store`, or `bad-state` if the value does not fit `T`.
    pub fn get_json<T: DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, Reject> {
        self.get(key)?
            .map(|value| {
                serde_json::from_slice(&value).map_err(|_| {
                    let detail = format!("an entry of the store {} has another format", self.name);
                    Reject::other("bad-state", detail)
                })
            })
            .transpose()
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// `unknown-store`, `entry-too-large`, or `state-quota-exceeded`.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: &[u8]) -> Result<(), Reject> {
        self.taken(self.host.put(self.name, key.as_ref(), value))
    }

    /// Like [`put`](Self::put), for an entry that expires `ttl` after the event's timestamp. Events
    /// of that time or later do not see it, and it is deleted an hour later.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn put_for(
        &mut self,
        key: impl AsRef<[u8]>,
        value: &[u8],
        ttl: Duration,
    ) -> Result<(), Reject> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let put = self.host.put_for(self.name, key.as_ref(), value, ttl_ms);
        self.taken(put)
    }

    /// Sets the value of `key` to `value` as JSON.
    ///
    /// # Errors
    /// Those of [`put`](Self::put), or `not-serializable`.
    pub fn put_json<T: Serialize + ?Sized>(
        &mut self,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<(), Reject> {
        let text = serde_json::to_vec(value).map_err(|_| {
            Reject::other("not-serializable", "the entry cannot be written as JSON")
        })?;
        self.put(key, &text)
    }

    /// Deletes `key`, if it exists.
    ///
    /// # Errors
    /// `unknown-store`.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<(), Reject> {
        self.known(self.host.delete(self.name, key.as_ref()))
    }

    /// Entries whose key starts with `prefix`, in key order, after the key `after`; at most
    /// `limit`.
    ///
    /// # Errors
    /// `unknown-store`.
    pub fn scan(
        &self,
        prefix: impl AsRef<[u8]>,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<Entry>, Reject> {
        self.known(self.host.scan(self.name, prefix.as_ref(), after, limit))
    }

    fn taken(&self, put: Option<Result<(), StateError>>) -> Result<(), Reject> {
        self.known(put)?.map_err(|error| match error {
            StateError::TooLarge => Reject::too_large(
                "entry-too-large",
                format!("an entry for {} is too large", self.name),
            ),
            StateError::QuotaExceeded => Reject::too_large(
                "state-quota-exceeded",
                format!("the store {} is full", self.name),
            ),
        })
    }

    fn known<T>(&self, answer: Option<T>) -> Result<T, Reject> {
        answer.ok_or_else(|| {
            let detail = format!("the plug-in does not declare the store {}", self.name);
            Reject::other("unknown-store", detail)
        })
    }
}

impl fmt::Debug for Store<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
