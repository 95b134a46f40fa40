//! Decides which addresses a sink may connect to. An app names a host, and the owner of that name
//! could let it point behind the firewall of the installation. So the resolved address is checked,
//! and the connection goes to exactly that address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    vec,
};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use ipnet::IpNet;

/// The addresses that one sink may connect to.
#[derive(Clone, Debug)]
pub(crate) struct AddressPolicy {
    /// Networks that the installation allows, even if they are not public.
    pub(crate) networks: Arc<[IpNet]>,
    /// Unencrypted calls are not allowed to public addresses.
    pub(crate) is_encrypted: bool,
}

/// Resolves host names, and returns only addresses that are allowed.
#[derive(Clone, Debug)]
pub(crate) struct Resolver(pub(crate) AddressPolicy);

/// Networks that are not public: the special-purpose registries of IANA for IPv4 and IPv6 (RFC
/// 6890), multicast and reserved blocks. Of IPv6, only 2000::/3 is assigned; tunnels to IPv4
/// (Teredo, 6to4) could lead to private networks.
const NOT_PUBLIC: [&str; 21] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "8000::/1",
];

// === impl AddressPolicy ===

impl AddressPolicy {
    /// Whether the sink may connect to this address.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_listed = self
            .networks
            .iter()
            .any(|network| network.contains(&address));
        is_listed || (self.is_encrypted && is_public(address))
    }

    /// The error about an address that is not allowed.
    pub(crate) fn refusal(&self, address: IpAddr) -> String {
        let why = if is_public(address.to_canonical()) {
            "is public, and http:// is not encrypted"
        } else {
            "is not public"
        };
        format!(
            "the address {address} {why}; write https://, or allow its network with webhook_private_addresses"
        )
    }
}

fn is_public(address: IpAddr) -> bool {
    static NETWORKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
        let networks = NOT_PUBLIC.iter();
        networks
            .map(|text| text.parse().expect("the table contains valid networks"))
            .collect()
    });
    !NETWORKS.iter().any(|network| network.contains(&address))
}

// === impl Resolver ===

impl tower::Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self(policy) = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (allowed, refused): (Vec<_>, Vec<_>) =
                found.partition(|found| policy.allows(found.ip()));
            match refused.first() {
                Some(first) if allowed.is_empty() => {
                    Err(io::Error::other(policy.refusal(first.ip())))
                }
                _ => Ok(allowed.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(networks: &[&str], is_encrypted: bool, address: &str) -> bool {
        let networks = networks.iter().map(|text| text.parse().expect("a network"));
        let policy = AddressPolicy {
            networks: networks.collect(),
            is_encrypted,
        };
        policy.allows(address.parse().expect("an address"))
    }

    #[test]
    fn only_public_addresses_are_called() {
        for public in ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(allows(&[], true, public), "{public}");
            assert!(!allows(&[], false, public), "{public} without encryption");
        }
        for other in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2001::1",
            "2002:7f00:1::",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allows(&[], true, other), "{other}");
        }
    }

    #[test]
    fn the_installation_can_allow_private_networks() {
        assert!(allows(&["10.0.0.0/8", "::1/128"], false, "10.1.2.3"));
        assert!(allows(&["10.0.0.0/8", "::1/128"], true, "::1"));
        assert!(allows(&["127.0.0.0/8"], false, "::ffff:127.0.0.1"));
        assert!(!allows(&["10.0.0.0/8"], true, "192.168.1.1"));
    }
}
