//! A record as it waits in Redis: everything that a dead letter of it would need.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use formline_core::{Record, record::Partition};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Payload {
    timestamp_ms: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

/// The record without its place.
pub(crate) fn write(record: &Record) -> Vec<u8> {
    let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let headers = record.headers();
    let payload = Payload {
        timestamp_ms: record.timestamp_ms,
        key: record.key().map(text),
        value: record.value().map(text),
        headers: headers
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect(),
    };
    serde_json::to_vec(&payload).expect("its keys are texts")
}

/// The record again; none if these bytes are of something else.
pub(crate) fn read(partition: Partition, offset: i64, bytes: &[u8]) -> Option<Record> {
    let payload: Payload = serde_json::from_slice(bytes).ok()?;
    let bytes = |text: &String| BASE64_STANDARD.decode(text).ok();
    let headers = payload.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| Some((name.as_str(), bytes(value)?)))
        .collect::<Option<_>>()?;
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_slice()))
        .collect();
    Some(Record::new(
        partition,
        offset,
        payload.timestamp_ms,
        payload.key.as_ref().and_then(bytes).as_deref(),
        payload.value.as_ref().and_then(bytes).as_deref(),
        &headers,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_byte_for_byte() {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        let headers: [(&str, &[u8]); 2] = [("ce_id", b"1"), ("odd", &[0, 255])];
        let value: &[u8] = b"{}";
        let record = Record::new(partition.clone(), 7, 9, Some(&[254]), Some(value), &headers);
        let again = read(partition.clone(), 7, &write(&record)).expect("it was written");
        assert_eq!((again.key(), again.value()), (record.key(), record.value()));
        assert!(again.headers().eq(record.headers()));
        assert_eq!((again.offset, again.timestamp_ms), (7, 9));
        assert!(read(partition, 7, b"").is_none());
    }
}
