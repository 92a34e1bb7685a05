//! Addresses: `host:port`, with an IPv6 host in brackets.

use super::fault::Fault;

/// Checks `host:port`: a host that is not empty, a port from 1 on. Resolves nothing.
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

// Underscores are no part of host names by the letter, but container networks use them.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// `host` and `port` as one address; an IPv6 host gets its brackets.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The port of an address that was checked.
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
    fn a_host_and_a_port_make_an_address() {
        assert_eq!(join("::1", 80), "[::1]:80");
        assert_eq!(join("n1", 80), "n1:80");
        assert_eq!(port_of("[::1]:80"), 80);
    }
}
