//! A record as Redis stores it: everything that its dead letter would need.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use formline_core::{Record, kafka::record::Partition};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct StoredRecord {
    timestamp_ms: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

/// The stored form of a record, without its partition and offset.
pub(crate) fn write(record: &Record) -> Vec<u8> {
    let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let headers = record.headers();
    let stored = StoredRecord {
        timestamp_ms: record.timestamp_ms,
        key: record.key().map(text),
        value: record.value().map(text),
        headers: headers
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect(),
    };
    serde_json::to_vec(&stored).expect("its keys are texts")
}

/// The record of a stored form, or `None` if the bytes are something else.
pub(crate) fn read(partition: Partition, offset: i64, bytes: &[u8]) -> Option<Record> {
    let stored: StoredRecord = serde_json::from_slice(bytes).ok()?;
    let bytes = |text: &String| BASE64_STANDARD.decode(text).ok();
    let headers = stored.headers.iter();
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
        stored.timestamp_ms,
        stored.key.as_ref().and_then(bytes).as_deref(),
        stored.value.as_ref().and_then(bytes).as_deref(),
        &headers,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_a_round_trip_byte_for_byte() {
        let partition = Partition {
            topic: "rows".into(),
            number: 3,
        };
        let headers: [(&str, &[u8]); 2] = [("ce_id", b"1"), ("odd", &[0, 255])];
        let value: &[u8] = b"{}";
        let record = Record::new(partition.clone(), 7, 9, Some(&[254]), Some(value), &headers);
        let again = read(partition.clone(), 7, &write(&record)).expect("it was just written");
        assert_eq!((again.key(), again.value()), (record.key(), record.value()));
        assert!(again.headers().eq(record.headers()));
        assert_eq!((again.offset, again.timestamp_ms), (7, 9));
        assert!(read(partition, 7, b"").is_none());
        let stored = concat!(
            r#"{"timestamp_ms":9,"key":"/g==","value":"e30=","#,
            r#""headers":[["ce_id","MQ=="],["odd","AP8="]]}"#
        );
        assert_eq!(
            write(&record),
            stored.as_bytes(),
            "the stored form does not change"
        );
    }
}
