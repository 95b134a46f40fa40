//! How many submissions a form takes, from one client and from all.

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

use crate::problem::{Kind, Problem};

/// The limits of one form, counted by this process alone: so many processes, so many times the limit.
#[derive(Debug)]
pub(crate) struct Rate {
    clients: Option<DefaultKeyedRateLimiter<IpAddr>>,
    form: Option<DefaultDirectRateLimiter>,
}

/// So many clients are told apart, a few MiB. Those that come on top of them share one allowance until the next
/// `forget_idle`.
const CLIENTS: usize = 50_000;

/// How often idle clients are forgotten.
pub(crate) const FORGET_INTERVAL: Duration = Duration::from_secs(60);

// === impl Rate ===

impl Rate {
    /// The limits that a form declares.
    pub(crate) fn new(declared: RateLimit) -> Self {
        let clients = NonZeroU32::new(declared.client_per_minute).map(Quota::per_minute);
        let form = NonZeroU32::new(declared.form_per_second).map(Quota::per_second);
        Self {
            clients: clients.map(RateLimiter::keyed),
            form: form.map(RateLimiter::direct),
        }
    }

    /// Counts one submission.
    pub(crate) fn check(&self, client: IpAddr) -> Result<(), Problem> {
        if let Some(clients) = &self.clients {
            let known = clients.len() < CLIENTS;
            let counted = if known {
                network(client)
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            clients
                .check_key(&counted)
                .map_err(|until| limited("this address", &until))?;
        }
        match &self.form {
            Some(form) => form.check().map_err(|until| limited("this form", &until)),
            None => Ok(()),
        }
    }

    /// Forgets clients that have their full allowance again.
    pub(crate) fn forget_idle(&self) {
        if let Some(clients) = &self.clients {
            clients.retain_recent();
            clients.shrink_to_fit();
        }
    }
}

fn limited(what: &str, until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Problem {
    let wait = until.wait_time_from(DefaultClock::default().now());
    let detail = format!("too many submissions for {what}; come back later");
    Problem::new(Kind::RateLimited, detail).retry_after(wait.as_secs() + 1)
}

/// What one client can be expected to own: its IPv4 address, or its IPv6 network of 64 bits.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

/// The client's address: the peer, or what the outermost of so many trusted proxies has seen.
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
        text.parse().expect("an address")
    }

    #[test]
    fn each_client_has_its_own_allowance() {
        let rate = Rate::new(RateLimit {
            client_per_minute: 2,
            form_per_second: 0,
        });
        for _ in 0..2 {
            assert!(rate.check(ip("2001:db8::1")).is_ok());
        }
        let refused = rate.check(ip("2001:db8::2")).expect_err("the same network");
        assert_eq!(refused.kind, Kind::RateLimited);
        assert!(rate.check(ip("2001:db8:0:1::1")).is_ok());
        rate.forget_idle();
        assert!(rate.check(ip("::ffff:192.0.2.1")).is_ok());
    }

    #[test]
    fn all_clients_together_have_one_too() {
        let rate = Rate::new(RateLimit {
            client_per_minute: 0,
            form_per_second: 1,
        });
        assert!(rate.check(ip("192.0.2.1")).is_ok());
        assert!(rate.check(ip("192.0.2.2")).is_err());
        assert!(
            Rate::new(RateLimit::default())
                .check(ip("192.0.2.1"))
                .is_ok()
        );
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
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
