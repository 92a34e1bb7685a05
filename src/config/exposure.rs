//! What a node shows to other machines. Outside of loopback it needs TLS and authentication, unless its operator accepts the
//! risk.

use std::net::IpAddr;

use super::address::{host_of, is_wildcard};
use super::fault::{Exposed, Fault};
use crate::process::ids::ProcessId;

/// Protection that a node lacks although other machines can reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unprotected {
    /// Everyone on the way reads everything, and anyone may do everything.
    Both,
    /// Everyone on the way reads everything.
    NoTls,
    /// Anyone may do everything.
    NoAuth,
}

impl Unprotected {
    /// The missing protection.
    #[must_use]
    pub fn lacks(self) -> &'static str {
        match self {
            Self::Both => "TLS and authentication",
            Self::NoTls => "TLS",
            Self::NoAuth => "authentication",
        }
    }
}

/// What a node with these addresses lacks; `None` if it is protected or only this machine reaches it.
pub(super) fn lacking(listen: [&str; 2], has_tls: bool, has_auth: bool) -> Option<Unprotected> {
    exposed(listen)?;
    match (has_tls, has_auth) {
        (true, true) => None,
        (false, false) => Some(Unprotected::Both),
        (false, true) => Some(Unprotected::NoTls),
        (true, false) => Some(Unprotected::NoAuth),
    }
}

/// The refusal to start, with the commands that make what is missing.
pub(super) fn refusal(
    listen: [&str; 2],
    advertised: &str,
    cluster: &str,
    me: &ProcessId,
    lacks: Unprotected,
) -> Fault {
    let address = exposed(listen).unwrap_or(advertised);
    let host = match is_wildcard(address) {
        true => host_of(advertised),
        false => host_of(address),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (cluster, id, host) = (quoted(cluster), quoted(me.as_str()), quoted(host));
    let mut commands = String::new();
    if lacks != Unprotected::NoAuth {
        commands += &format!(
            "\n  snapledger cert init --cluster {cluster}\n  snapledger cert node --id {id} --host {host}"
        );
    }
    if lacks != Unprotected::NoTls {
        commands +=
            "\n  (umask 077; snapledger token create --role operator --name admin > admin.token)";
    }
    Fault::Exposed(Box::new(Exposed {
        address: address.to_owned(),
        lacks: lacks.lacks(),
        commands,
    }))
}

// The first address that other machines can reach.
fn exposed(listen: [&str; 2]) -> Option<&str> {
    listen.into_iter().find(|address| !is_loopback(address))
}

/// Whether only this machine reaches the host of an address. A name other than `localhost` may mean any address.
fn is_loopback(address: &str) -> bool {
    let host = host_of(address);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

// One word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a node that every machine can reach starts without a word.
    #[test]
    fn what_other_machines_reach_needs_both() {
        let here = "127.0.0.1:1";
        for own in [
            here,
            "127.8.9.1:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "LocalHost:1",
        ] {
            assert_eq!(lacking([own, here], false, false), None, "{own}");
        }
        for open in [
            "0.0.0.0:1",
            "[::]:1",
            "0:1",
            "10.0.0.1:1",
            "n1:1",
            "localhost.example.org:1",
        ] {
            for listen in [[open, here], [here, open]] {
                let lacks = |tls, auth| lacking(listen, tls, auth);
                assert_eq!(lacks(false, false), Some(Unprotected::Both), "{open}");
                assert_eq!(lacks(true, false), Some(Unprotected::NoAuth), "{open}");
                assert_eq!(lacks(false, true), Some(Unprotected::NoTls), "{open}");
                assert_eq!(lacks(true, true), None, "{open}");
            }
        }
    }

    #[test]
    fn the_refusal_has_commands_with_the_names_of_this_cluster() {
        let me = ProcessId::parse("n 1").expect("an id");
        let (everywhere, lacks) = (["127.0.0.1:1", "[::]:2"], Unprotected::Both);
        let fault = refusal(everywhere, "n1.example.org:1", "it's", &me, lacks);
        let sentence = fault.to_string();
        assert!(
            sentence.starts_with("other machines can reach [::]:2"),
            "{sentence}"
        );
        for command in [
            r"cert init --cluster 'it'\''s'",
            "cert node --id 'n 1' --host n1.example.org",
            "token create --role operator --name admin",
        ] {
            assert!(sentence.contains(command), "{command}: {sentence}");
        }
        for (lacks, has_certificates) in [(Unprotected::NoTls, true), (Unprotected::NoAuth, false)]
        {
            let sentence = refusal(everywhere, "n1:1", "c", &me, lacks).to_string();
            assert_eq!(
                sentence.contains("cert init"),
                has_certificates,
                "{sentence}"
            );
            assert_eq!(
                sentence.contains("token create"),
                !has_certificates,
                "{sentence}"
            );
        }
        let fault = refusal(["[fd00::1]:1", "[fd00::1]:2"], "x:1", "c", &me, lacks);
        assert!(fault.to_string().contains("--host fd00::1\n"), "{fault}");
    }
}
