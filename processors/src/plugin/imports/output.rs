//! The interface `output`: ports and the records sent to them.

use formline_plugin_contract::{is_reserved_header, is_timestamp};
use wasmtime::component::Resource;

use crate::{
    batch::{BatchError, Output},
    plugin::{
        bindings::formline::plugin::output::{Host, HostPort, OpenError, OutRecord, SendError},
        failure::Misuse,
        handles::{self, Port},
        host_state::{HostState, NO_EVENT},
    },
};

const NEGATIVE_TIMESTAMP: Misuse = Misuse("the timestamp of a record is before 1970");

// === impl HostState ===

impl Host for HostState {}

impl HostPort for HostState {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Port>, OpenError>> {
        let ports = self.declared.outputs.iter().map(String::as_str);
        Ok(handles::open(ports, &name).ok_or(OpenError::UnknownPort))
    }

    fn send(
        &mut self,
        port: Resource<Port>,
        record: OutRecord,
    ) -> wasmtime::Result<Result<(), SendError>> {
        let mut headers = record.headers.iter();
        if headers.any(|header| is_reserved_header(&header.name)) {
            return Ok(Err(SendError::ReservedHeader));
        }
        if record.timestamp_ms.is_some_and(|time| !is_timestamp(time)) {
            return Err(NEGATIVE_TIMESTAMP.into());
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
            Err(BatchError::NoEvent) => Err(NO_EVENT.into()),
            Err(BatchError::TooLarge) => Ok(Err(SendError::RecordTooLarge)),
            Err(BatchError::Quota) => Ok(Err(SendError::QuotaExceeded)),
        }
    }

    fn drop(&mut self, _: Resource<Port>) -> wasmtime::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use formline_core::event::header;

    use super::*;

    /// The contract must reserve every header that the host writes.
    #[test]
    fn the_headers_of_the_host_are_reserved() {
        let written = [
            header::ID,
            header::SOURCE,
            header::TYPE,
            header::TIME,
            header::SUBJECT,
            header::ORIGIN,
            header::PLUGIN,
            header::GENERATION,
            header::EXPIRES,
            header::PROVENANCE,
            header::REPLAY_FOR,
            header::RETRY,
            header::SPEC_VERSION,
            header::DATA_SCHEMA,
            header::FINGERPRINT,
            header::CONTENT_TYPE,
            header::TRACE_PARENT,
        ];
        for name in written {
            assert!(is_reserved_header(name), "{name}");
        }
    }
}
