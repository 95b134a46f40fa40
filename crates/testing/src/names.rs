//! Names and ports that no other test uses, so that tests can run concurrently on one Kafka.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the range of ephemeral ports (from 32768 on Linux). From that range a client that
/// reconnects to a stopped broker may be assigned the port of the broker, or even connect to
/// itself.
const PORTS: Range<u64> = 20_000..32_000;

/// A name for a topic, an app or a group: the prefix and a random suffix.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", random())
}

/// A loopback port that nothing listens on. Each port is returned once per process.
///
/// # Panics
/// If a thousand attempts find none.
#[must_use]
pub fn free_port() -> u16 {
    static USED: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let used = used.get_or_insert_default();
    let tries = (0..1000).map(|_| PORTS.start + random() % (PORTS.end - PORTS.start));
    tries
        .map(|port| u16::try_from(port).expect("the range ends below 65536"))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok() && used.insert(port))
        .expect("a free loopback port")
}

/// A random number from the keys of hash maps, the only source of randomness in the standard
/// library.
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
