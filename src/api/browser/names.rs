//! The names under which clients may address the REST port.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::uri::Authority;

use crate::tls::node::Tls;

/// Names without port: the given ones, and those of the certificate that the node presents now. IP addresses are always among
/// them, since rebinding needs a name; loopback names too.
#[derive(Debug, Clone)]
pub(in crate::api) struct Names {
    given: Arc<[String]>,
    tls: Option<Tls>,
}

impl Names {
    pub(in crate::api) fn of(hosts: &[String], tls: Option<&Tls>) -> Self {
        Self {
            given: hosts.iter().map(|host| bare(host)).collect(),
            tls: tls.cloned(),
        }
    }

    /// Whether the name in `authority`, with or without port, is one of these.
    pub(super) fn has(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else {
            return false;
        };
        // Neither `user@host`, nor anything else around the name.
        let port = authority.as_str().strip_prefix(authority.host());
        if !port.is_some_and(|port| port.is_empty() || port.starts_with(':')) {
            return false;
        }
        let host = bare(authority.host());
        is_address(&host)
            || is_loopback(&host)
            || self.given.contains(&host)
            || self.tls.as_ref().is_some_and(|tls| tls.is_named(&host))
    }
}

// In lower case, without the dot of a fully qualified name.
fn bare(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.to_ascii_lowercase()
}

fn is_address(host: &str) -> bool {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok(),
    }
}

// Resolvers map these names to loopback themselves (RFC 6761 §6.3).
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_loopback_names_and_given_names_are_known() {
        let names = Names::of(&["Ledger.example.org".to_owned(), "n1".to_owned()], None);
        for known in [
            "127.0.0.1:7201",
            "10.1.2.3",
            "[::1]:7201",
            "[2001:db8::1]",
            "localhost:7201",
            "LOCALHOST.",
            "n1.localhost:7201",
            "ledger.example.ORG:443",
            "ledger.example.org.",
            "n1:7201",
        ] {
            assert!(names.has(known), "{known}");
        }
        for unknown in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:7201",
            "ledger.example.org.evil.example",
            "n2:7201",
            "notlocalhost",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "[::1]evil.example",
            "[evil]:7201",
        ] {
            assert!(!names.has(unknown), "{unknown}");
        }
    }
}
