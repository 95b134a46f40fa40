//! Rate limits of a form, for each client and for all clients together.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use axum::http::HeaderMap;
use formline_core::app::RateLimit;
use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::problem::{Problem, ProblemKind};

/// The rate limits of one form. Each process counts for itself, so n processes accept n times the
/// limit.
#[derive(Debug)]
pub(crate) struct RateLimits {
    clients: Option<DefaultKeyedRateLimiter<IpAddr>>,
    form: Option<DefaultDirectRateLimiter>,
}

/// Maximum number of clients that are tracked, which takes a few MiB. Clients beyond it share one
/// quota until the next `evict_idle`.
const MAX_CLIENTS: usize = 50_000;

/// How often idle clients are evicted.
pub(crate) const EVICTION_INTERVAL: Duration = Duration::from_secs(60);

// === impl RateLimits ===

impl RateLimits {
    /// The limits that a form declares; 0 means no limit.
    pub(crate) fn new(declared: RateLimit) -> Self {
        let clients = NonZeroU32::new(declared.client_per_minute).map(Quota::per_minute);
        let form = NonZeroU32::new(declared.form_per_second).map(Quota::per_second);
        Self {
            clients: clients.map(RateLimiter::keyed),
            form: form.map(RateLimiter::direct),
        }
    }

    /// Counts one submission, or rejects it with 429 and the time to wait.
    pub(crate) fn check(&self, client: IpAddr) -> Result<(), Problem> {
        if let Some(clients) = &self.clients {
            let known = clients.len() < MAX_CLIENTS;
            let counted = if known {
                network(client)
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            clients
                .check_key(&counted)
                .map_err(|until| limited("from this address", &until))?;
        }
        match &self.form {
            Some(form) => form
                .check()
                .map_err(|until| limited("for this form", &until)),
            None => Ok(()),
        }
    }

    /// Evicts clients whose quota is full again.
    pub(crate) fn evict_idle(&self) {
        if let Some(clients) = &self.clients {
            clients.retain_recent();
            clients.shrink_to_fit();
        }
    }
}

fn limited(scope: &str, until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Problem {
    let wait = until.wait_time_from(DefaultClock::default().now());
    let detail = format!("too many submissions {scope}; retry after the time in Retry-After");
    Problem::new(ProblemKind::RateLimited, detail).retry_after(wait.as_secs() + 1)
}

/// The addresses that count as one client: an IPv4 address, or an IPv6 network of 64 bits.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

/// The client's address: the peer of the connection, or with trusted proxies the address that the
/// outermost of them saw.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> IpAddr {
    let Some(hop) = proxies.checked_sub(1) else {
        return peer;
    };
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.rsplit(','));
    hops.nth(hop)
        .and_then(|address| address.trim().parse().ok())
        .unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a valid IP address")
    }

    #[test]
    fn each_client_has_its_own_quota() {
        let rate = RateLimits::new(RateLimit {
            client_per_minute: 2,
            form_per_second: 0,
        });
        for _ in 0..2 {
            assert!(rate.check(ip("2001:db8::1")).is_ok());
        }
        let refused = rate.check(ip("2001:db8::2")).expect_err("the same network");
        assert_eq!(refused.kind, ProblemKind::RateLimited);
        assert!(rate.check(ip("2001:db8:0:1::1")).is_ok());
        rate.evict_idle();
        assert!(rate.check(ip("::ffff:192.0.2.1")).is_ok());
    }

    #[test]
    fn all_clients_share_the_quota_of_the_form() {
        let rate = RateLimits::new(RateLimit {
            client_per_minute: 0,
            form_per_second: 1,
        });
        assert!(rate.check(ip("192.0.2.1")).is_ok());
        assert!(rate.check(ip("192.0.2.2")).is_err());
        assert!(
            RateLimits::new(RateLimit::default())
                .check(ip("192.0.2.1"))
                .is_ok()
        );
    }

    #[test]
    fn only_addresses_from_trusted_proxies_are_used() {
        let mut headers = HeaderMap::new();
        let forged = HeaderValue::from_static("10.0.0.1, 192.0.2.7");
        headers.append("x-forwarded-for", forged);
        headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.8"));
        let peer = ip("192.0.2.9");
        for (proxies, expected) in [
            (0, "192.0.2.9"),
            (1, "192.0.2.8"),
            (2, "192.0.2.7"),
            (9, "192.0.2.9"),
        ] {
            assert_eq!(client(peer, &headers, proxies), ip(expected), "{proxies}");
        }
    }
}
