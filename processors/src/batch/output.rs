//! A record that the plug-in has sent.

use formline_plugin_contract::{RECORD_OVERHEAD, record_bytes};

/// A record for one of the plug-in's output ports.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Index of the event that it results from.
    pub(crate) event: usize,
    /// Index of the port among the plug-in's outputs.
    pub(crate) port: usize,
    /// Its number among the event's records to this port.
    pub(crate) n: u32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) timestamp_ms: Option<i64>,
}

// === impl Output ===

impl Output {
    /// Bytes of key, value and headers.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_slice()));
        record_bytes(self.key.as_deref(), &self.value, headers)
    }

    /// Bytes that it occupies in memory, approximately.
    pub(super) fn size(&self) -> usize {
        self.bytes() + RECORD_OVERHEAD
    }
}
