//! A record as it lies in Kafka: `Record` when read, `Outgoing` and `Headers` when written.

use std::{fmt, sync::Arc};

use rdkafka::message::{
    BorrowedMessage, Header as KafkaHeader, Headers as _, Message as _, OwnedHeaders,
};

/// One partition of one topic.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Partition {
    /// Name of the topic, shared by all records that one client reads from it.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub number: i32,
}

/// A record that was read. Key, value and headers share one allocation, because the line copies each of them
/// exactly once.
#[derive(Clone)]
pub struct Record {
    /// Where it was read.
    pub partition: Partition,
    /// Its position in the partition.
    pub offset: i64,
    /// Kafka's timestamp in milliseconds since 1970; 0 if the record has none.
    pub timestamp_ms: i64,
    bytes: Box<[u8]>,
    key: Option<Span>,
    value: Option<Span>,
    headers: Box<[(Span, Span)]>,
}

/// A range of `Record::bytes`. Kafka refuses records of more than 2 GiB, so 32 bits are enough.
type Span = (u32, u32);

/// A record to be written.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Topic that it goes to.
    pub topic: &'a str,
    /// A fixed partition; none lets the key decide (murmur2, as Java clients do).
    pub partition: Option<i32>,
    /// Key: equal keys keep their order.
    pub key: Option<&'a [u8]>,
    /// Value; none deletes the key from a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers, written in this order.
    pub headers: Headers,
    /// Milliseconds since 1970; none is the time of sending.
    pub timestamp_ms: Option<i64>,
}

/// Headers to be written.
#[derive(Debug)]
pub struct Headers(pub(crate) OwnedHeaders);

// === impl Record ===

impl Record {
    pub(crate) fn copy(message: &BorrowedMessage<'_>, topic: Arc<str>) -> Self {
        let partition = Partition {
            topic,
            number: message.partition(),
        };
        let headers = message.headers();
        let all = || headers.iter().flat_map(|all| all.iter());
        let room = all()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len))
            .sum();
        Self::build(
            partition,
            message.offset(),
            message.timestamp().to_millis().unwrap_or(0),
            message.key(),
            message.payload(),
            room,
            all().map(|header| (header.key, header.value.unwrap_or_default())),
        )
    }

    /// A record with these contents, which stands for one that was read, as in the test cases of a plug-in. They are
    /// below 1 GiB together, as Kafka's are.
    pub fn new(
        partition: Partition,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Self {
        let sizes = headers.iter().map(|(name, value)| name.len() + value.len());
        let (room, all) = (sizes.sum(), headers.iter().copied());
        Self::build(partition, offset, timestamp_ms, key, value, room, all)
    }

    /// `room` are the bytes of all headers.
    fn build<'a>(
        partition: Partition,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        room: usize,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let contents = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let mut bytes = Vec::with_capacity(contents + room);
        let mut keep = |part: &[u8]| -> Span {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            (position(start), position(bytes.len()))
        };
        let (key, value) = (key.map(&mut keep), value.map(&mut keep));
        let headers = headers
            .map(|(name, value)| (keep(name.as_bytes()), keep(value)))
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

    /// The key, if the record has one.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.map(|span| self.slice(span))
    }

    /// The value; none marks a deletion on a compacted topic.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.map(|span| self.slice(span))
    }

    /// The last header of that name, as Kafka's own clients choose it.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        // As bytes: names were UTF-8 when they were copied, and a look-up need not check each of them again.
        let mut from_last = self.headers.iter().rev();
        from_last
            .find(|(key, _)| self.slice(*key) == name.as_bytes())
            .map(|(_, value)| self.slice(*value))
    }

    /// The last header of that name, if it is UTF-8.
    pub fn text_header(&self, name: &str) -> Option<&str> {
        self.header(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers in order, each as name and value.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(key, value)| {
            let key = std::str::from_utf8(self.slice(*key)).expect("it was copied from a str");
            (key, self.slice(*value))
        })
    }

    /// Bytes that it holds in memory.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.0 as usize..span.1 as usize]
    }
}

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("librdkafka refuses messages larger than 1,000,000,000 bytes")
}

/// Shows where the record lies, never what it holds: submissions do not belong in logs.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}@{}",
            self.partition.topic, self.partition.number, self.offset
        )
    }
}

// === impl Headers ===

impl Headers {
    /// Room for so many headers; more are possible.
    pub fn with_capacity(count: usize) -> Self {
        Self(OwnedHeaders::new_with_capacity(count))
    }

    /// Adds one header behind the others. A name with a NUL byte is dropped: Kafka's client cannot carry it.
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

    /// Headers of a record that was read, byte for byte, with room for more.
    pub fn copied<'a>(read: impl Iterator<Item = (&'a str, &'a [u8])>, more: usize) -> Self {
        let room = Self::with_capacity(read.size_hint().1.unwrap_or(0) + more);
        read.fold(room, |headers, (name, value)| headers.with(name, value))
    }

    /// The value of the first header of that name.
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
    fn a_record_holds_what_it_was_made_of() {
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
    }
}
