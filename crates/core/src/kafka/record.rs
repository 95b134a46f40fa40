//! Kafka records: [`Record`] is one that was read, [`OutgoingRecord`] one to be written.

use std::{fmt, sync::Arc};

use rdkafka::message::{
    BorrowedMessage, Header as KafkaHeader, Headers as _, Message as _, OwnedHeaders,
};

/// One partition of a topic.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Partition {
    /// Name of the topic. All records that one client reads from the topic share it.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub number: i32,
}

/// Topic, partition and offset of a record. `Display` writes `TOPIC/PARTITION@OFFSET`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RecordPosition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition, from 0.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// A record that was read.
///
/// Key, value and headers share one allocation, so that reading a record copies each byte once.
/// `Debug` writes only the position: the contents of submissions must not appear in logs.
///
/// ```
/// use formline_core::{Record, kafka::record::Partition};
///
/// let partition = Partition { topic: "orders".into(), number: 3 };
/// let headers = [("content-type", b"application/json".as_slice())];
/// let record = Record::new(partition, 7, 1_700_000_000_000, Some(b"key"), Some(b"{}"), &headers);
/// assert_eq!(record.value(), Some(b"{}".as_slice()));
/// assert_eq!(record.text_header("content-type"), Some("application/json"));
/// assert_eq!(format!("{record:?}"), "orders/3@7");
/// ```
#[derive(Clone)]
pub struct Record {
    /// The partition that it was read from.
    pub partition: Partition,
    /// Offset in the partition.
    pub offset: i64,
    /// Kafka's timestamp in milliseconds since 1970; 0 if the record has none.
    pub timestamp_ms: i64,
    bytes: Box<[u8]>,
    key: Option<Span>,
    value: Option<Span>,
    headers: Box<[(Span, Span)]>,
}

/// A range of `Record::bytes`. Kafka rejects records of more than 2 GiB, so 32 bits are enough.
type Span = (u32, u32);

/// A record to be written.
///
/// ```
/// use formline_core::kafka::record::{Headers, OutgoingRecord};
///
/// let record = OutgoingRecord {
///     topic: "orders",
///     partition: None,
///     key: Some(b"customer-7"),
///     value: Some(b"{}"),
///     headers: Headers::with_capacity(1).with("content-type", "application/json"),
///     timestamp_ms: None,
/// };
/// assert_eq!(record.headers.get("content-type"), Some(b"application/json".as_slice()));
/// ```
#[derive(Debug)]
pub struct OutgoingRecord<'a> {
    /// Topic to write to.
    pub topic: &'a str,
    /// Partition to write to. `None` chooses it by the key (murmur2, like the Java client).
    pub partition: Option<i32>,
    /// Key. Records with equal keys keep their order.
    pub key: Option<&'a [u8]>,
    /// Value. `None` deletes the key from a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers, written in this order.
    pub headers: Headers,
    /// Timestamp in milliseconds since 1970. `None` is the time of sending.
    pub timestamp_ms: Option<i64>,
}

/// Headers to be written.
#[derive(Debug)]
pub struct Headers(pub(crate) OwnedHeaders);

// === impl RecordPosition ===

impl fmt::Display for RecordPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

// === impl Record ===

impl Record {
    pub(crate) fn copy(message: &BorrowedMessage<'_>, topic: Arc<str>) -> Self {
        let partition = Partition {
            topic,
            number: message.partition(),
        };
        let headers = message.headers();
        let all = || headers.iter().flat_map(|all| all.iter());
        let header_bytes = all()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len))
            .sum();
        Self::build(
            partition,
            message.offset(),
            message.timestamp().to_millis().unwrap_or(0),
            message.key(),
            message.payload(),
            header_bytes,
            all().map(|header| (header.key, header.value.unwrap_or_default())),
        )
    }

    /// Creates a record as if it had been read, for instance for the test cases of a plug-in. The
    /// contents must not exceed 1 GiB, which is also the limit of librdkafka.
    pub fn new(
        partition: Partition,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Self {
        let sizes = headers.iter().map(|(name, value)| name.len() + value.len());
        let (header_bytes, headers) = (sizes.sum(), headers.iter().copied());
        Self::build(
            partition,
            offset,
            timestamp_ms,
            key,
            value,
            header_bytes,
            headers,
        )
    }

    /// `header_bytes` is the size of all header names and values.
    fn build<'a>(
        partition: Partition,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_bytes: usize,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let contents = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let mut bytes = Vec::with_capacity(contents + header_bytes);
        let mut append = |part: &[u8]| -> Span {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            (to_u32(start), to_u32(bytes.len()))
        };
        let (key, value) = (key.map(&mut append), value.map(&mut append));
        let headers = headers
            .map(|(name, value)| (append(name.as_bytes()), append(value)))
            .collect();
        Self {
            partition,
            offset,
            timestamp_ms,
            bytes: bytes.into_boxed_slice(),
            key,
            value,
            headers,
        }
    }

    /// Returns the key, if the record has one.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.map(|span| self.slice(span))
    }

    /// Returns the value. `None` is a tombstone, which deletes the key from a compacted topic.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.map(|span| self.slice(span))
    }

    /// Returns the last header with this name, like the `lastHeader` method of the Java client.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        // Compares bytes: the names were UTF-8 when they were copied.
        let mut from_last = self.headers.iter().rev();
        from_last
            .find(|(key, _)| self.slice(*key) == name.as_bytes())
            .map(|(_, value)| self.slice(*value))
    }

    /// Returns the last header with this name if its value is UTF-8.
    pub fn text_header(&self, name: &str) -> Option<&str> {
        self.header(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Returns the names and values of all headers in order.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(key, value)| {
            let key =
                std::str::from_utf8(self.slice(*key)).expect("the name was copied from a str");
            (key, self.slice(*value))
        })
    }

    /// Returns its position in Kafka.
    pub fn position(&self) -> RecordPosition {
        RecordPosition {
            topic: self.partition.topic.to_string(),
            partition: self.partition.number,
            offset: self.offset,
        }
    }

    /// Returns the size in memory, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.0 as usize..span.1 as usize]
    }
}

fn to_u32(index: usize) -> u32 {
    u32::try_from(index).expect("librdkafka rejects messages larger than 1,000,000,000 bytes")
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.position(), f)
    }
}

// === impl Headers ===

impl Headers {
    /// Creates an empty list with room for `count` headers. It grows if more are added.
    pub fn with_capacity(count: usize) -> Self {
        Self(OwnedHeaders::new_with_capacity(count))
    }

    /// Appends a header. A name with a NUL byte is ignored, because librdkafka cannot send it.
    #[must_use]
    pub fn with(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if name.contains('\0') {
            return self;
        }
        Self(self.0.insert(KafkaHeader {
            key: name,
            value: Some(value.as_ref()),
        }))
    }

    /// Copies the headers of a record byte for byte, with room for `more` headers.
    pub fn copied<'a>(read: impl Iterator<Item = (&'a str, &'a [u8])>, more: usize) -> Self {
        let empty = Self::with_capacity(read.size_hint().1.unwrap_or(0) + more);
        read.fold(empty, |headers, (name, value)| headers.with(name, value))
    }

    /// Returns the value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|header| header.key == name)
            .and_then(|header| header.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_returns_its_contents_and_shows_only_its_position() {
        let partition = Partition {
            topic: "topic".into(),
            number: 3,
        };
        let headers = [("a", b"1".as_slice()), ("b", b""), ("a", b"2")];
        let record = Record::new(partition, 7, 8, Some(b""), None, &headers);
        assert_eq!((record.key(), record.value()), (Some(b"".as_slice()), None));
        assert_eq!(record.header("a"), Some(b"2".as_slice()));
        assert_eq!(record.headers().collect::<Vec<_>>(), headers);
        assert_eq!(format!("{record:?}"), "topic/3@7");
        assert_eq!(record.position().to_string(), "topic/3@7");
    }
}
