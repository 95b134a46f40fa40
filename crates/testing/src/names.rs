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

/// Ports of one slot. There are 20 slots, and far fewer tests run concurrently; one test uses about
/// ten ports.
const SLOT_PORTS: u64 = 600;

/// Set by nextest: a number that no other test has that runs at the same time.
const SLOT: &str = "NEXTEST_TEST_GLOBAL_SLOT";

/// A name for a topic, an app or a group: the prefix and a random suffix.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", random())
}

/// A loopback port that nothing listens on. Each port is returned once per process, and under
/// nextest to no other process that runs at the same time: the port remains the test's own while
/// the server that it is for restarts.
///
/// # Panics
/// If a thousand attempts find none.
#[must_use]
pub fn free_port() -> u16 {
    static USED: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let used = used.get_or_insert_default();
    let ports = ports_of(std::env::var(SLOT).ok().as_deref());
    let tries = (0..1000).map(|_| ports.start + random() % (ports.end - ports.start));
    tries
        .map(|port| u16::try_from(port).expect("the range ends below 65536"))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok() && used.insert(port))
        .expect("a free loopback port")
}

/// The ports of a slot, or all of them without one.
fn ports_of(slot: Option<&str>) -> Range<u64> {
    let Some(slot) = slot.and_then(|slot| slot.parse::<u64>().ok()) else {
        return PORTS;
    };
    let slots = (PORTS.end - PORTS.start) / SLOT_PORTS;
    let start = PORTS.start + slot % slots * SLOT_PORTS;
    start..start + SLOT_PORTS
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

    #[test]
    fn each_slot_has_ports_of_its_own() {
        assert_eq!(ports_of(None), PORTS);
        assert_eq!(ports_of(Some("none")), PORTS);
        let mut end = PORTS.start;
        for slot in 0..20 {
            let ports = ports_of(Some(&slot.to_string()));
            assert_eq!(ports, end..end + 600, "slot {slot}");
            end = ports.end;
        }
        assert_eq!(end, PORTS.end);
        assert_eq!(ports_of(Some("20")), ports_of(Some("0")));
    }
}
