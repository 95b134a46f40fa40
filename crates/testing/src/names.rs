//! Names and ports that no other test uses, so that tests may run side by side on one Kafka.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::sync::Mutex;

/// Below the range that the kernel takes outgoing connections from (32768 on Linux). In that range
/// a client that reconnects to a broker that is down sits on the broker's port sooner or later, or
/// even connects to itself.
const PORTS: Range<u64> = 20_000..32_000;

/// A name for a topic, an app or a group: `prefix` and a suffix that occurs once.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", random())
}

/// A loopback port that nothing listens on, given out once per process.
///
/// # Panics
/// When a thousand tries found none.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().expect("nothing panics while holding it");
    let given = given.get_or_insert_default();
    let tries = (0..1000).map(|_| PORTS.start + random() % (PORTS.end - PORTS.start));
    tries
        .map(|port| u16::try_from(port).expect("the range ends below 65536"))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port))
        .expect("a free loopback port")
}

/// The standard library's only source of randomness: the keys of its hash maps.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_keep_their_prefix() {
        let (one, other) = (unique("rows"), unique("rows"));
        assert_ne!(one, other);
        assert!(one.starts_with("rows-"));
    }

    #[test]
    fn ports_are_free_and_differ() {
        let (one, other) = (free_port(), free_port());
        assert_ne!(one, other);
        let _bound = TcpListener::bind(("127.0.0.1", one)).expect("the port is free");
    }
}
