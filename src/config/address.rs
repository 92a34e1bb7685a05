//! Addresses: `host:port`, with an IPv6 host in brackets.
//!
//! A node that listens on every interface is reached at another address. A wildcard address names no host, so it is
//! never advertised to other nodes or to clients.

use std::net::IpAddr;

use super::fault::Fault;

/// Checks the form `host:port`: a non-empty host and a port of at least 1. Does not resolve the name.
///
/// # Errors
/// [`Fault::Address`].
pub fn check_address(text: &str) -> Result<(), Fault> {
    let fault = || Fault::Address(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
    let port_valid =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host_valid = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_host_byte),
    };
    if port_valid && host_valid {
        Ok(())
    } else {
        Err(fault())
    }
}

// The host name grammar has no underscores, but container networks use them.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// Whether the host of an address is a wildcard for every interface, such as `0.0.0.0` or `[::]`.
pub(super) fn is_wildcard(address: &str) -> bool {
    let (host, _) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_unspecified(),
        // The resolver reads a host of zeros as 0.0.0.0.
        Err(_) => host.bytes().all(|byte| byte == b'0'),
    }
}

/// Checks that other processes can connect to an address.
///
/// # Errors
/// [`Fault::Address`], or [`Fault::Nowhere`] for a wildcard.
pub(super) fn check_reachable(text: &str) -> Result<(), Fault> {
    check_address(text)?;
    match is_wildcard(text) {
        true => Err(Fault::Nowhere(text.to_owned())),
        false => Ok(()),
    }
}

/// The advertised address of a socket that listens at `listen`. `given` is a host with or without a port; a missing
/// port is that of `listen`.
///
/// # Errors
/// As [`check_reachable`].
pub(super) fn advertised(given: &str, listen: &str) -> Result<String, Fault> {
    let whole = match check_address(given) {
        Ok(()) => given.to_owned(),
        Err(_) => join(given, port_of(listen)),
    };
    match check_reachable(&whole) {
        Ok(()) => Ok(whole),
        Err(Fault::Address(_)) => Err(Fault::Advertised(given.to_owned())),
        Err(fault) => Err(fault),
    }
}

/// `told`, with its host replaced by the host of `known` if it is a wildcard. Older peers advertise wildcards.
#[must_use]
pub fn reachable(told: &str, known: &str) -> String {
    match (
        is_wildcard(told),
        told.rsplit_once(':'),
        known.rsplit_once(':'),
    ) {
        (true, Some((_, port)), Some((host, _))) => format!("{host}:{port}"),
        _ => told.to_owned(),
    }
}

/// Joins `host` and `port`, with brackets around an IPv6 host.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The host of a checked address, in brackets if it is IPv6.
pub(super) fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// The port of a checked address.
pub(super) fn port_of(address: &str) -> u16 {
    address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .expect("a checked address ends in a port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:7101", "n1:1", "a.b-c_d:65535", "[::1]:80"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "n1",
            "n1:",
            ":80",
            "n1:0",
            "n1:65536",
            "n1:+80",
            "http://n1:80",
            "::1:80",
            "a b:1",
        ] {
            assert_eq!(
                check_address(bad),
                Err(Fault::Address(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_wildcard_is_told_to_nobody() {
        for wild in [
            "0.0.0.0:1",
            "[::]:1",
            "[0:0::0]:1",
            "[::ffff:0.0.0.0]:1",
            "0:1",
        ] {
            let fault = Fault::Nowhere(wild.to_owned());
            assert_eq!(check_reachable(wild), Err(fault), "{wild}");
            assert_eq!(reachable(wild, "n2:7101"), "n2:1");
        }
        for good in ["10.0.0.0:1", "[::1]:1", "n0:1"] {
            assert_eq!(check_reachable(good), Ok(()));
            assert_eq!(reachable(good, "n2:7101"), good);
        }
    }

    #[test]
    fn an_advertised_host_takes_the_port_of_its_socket_unless_it_has_one() {
        let advertised = |given| advertised(given, "0.0.0.0:7101");
        assert_eq!(advertised("n1").as_deref(), Ok("n1:7101"));
        assert_eq!(advertised("n1:80").as_deref(), Ok("n1:80"));
        assert_eq!(advertised("fd00::1").as_deref(), Ok("[fd00::1]:7101"));
        assert_eq!(advertised("[fd00::1]:80").as_deref(), Ok("[fd00::1]:80"));
        for bad in ["", "n 1", "n1:x", "n1:0", "http://n1"] {
            assert_eq!(advertised(bad), Err(Fault::Advertised(bad.to_owned())));
        }
        assert!(matches!(advertised("[::]"), Err(Fault::Nowhere(_))));
    }

    #[test]
    fn a_host_and_a_port_make_an_address() {
        assert_eq!(join("::1", 80), "[::1]:80");
        assert_eq!(join("n1", 80), "n1:80");
        assert_eq!(port_of("[::1]:80"), 80);
    }
}
