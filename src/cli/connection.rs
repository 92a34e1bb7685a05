//! How a command connects to nodes: the CAs it trusts, the certificate or token by which it proves its name.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ureq::http::uri::Authority;

use super::CliError;
use crate::access::private_file::read_private;
use crate::client::Credentials;
use crate::tls::client::{ClientFiles, ClientPair, ClientTls};

const HEADING: &str = "Connection";

/// The options of a connection. A token is never an argument: other users of the machine see those.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConnectionOptions {
    /// The CA of the nodes, in PEM; needed for https:// addresses.
    #[arg(long, env = "SNAPLEDGER_CA", value_name = "FILE", help_heading = HEADING)]
    pub ca: Option<PathBuf>,

    /// The certificate of this client, in PEM; it needs --key.
    #[arg(long, env = "SNAPLEDGER_CERT", value_name = "FILE", help_heading = HEADING)]
    pub cert: Option<PathBuf>,

    /// The key of the certificate, in PEM. Only its owner may read it.
    #[arg(long, env = "SNAPLEDGER_KEY", value_name = "FILE", help_heading = HEADING)]
    pub key: Option<PathBuf>,

    /// A file that contains the token of this client. Only its owner may read it. The variable SNAPLEDGER_TOKEN holds a token
    /// itself.
    #[arg(long, env = "SNAPLEDGER_TOKEN_FILE", value_name = "FILE", help_heading = HEADING)]
    pub token_file: Option<PathBuf>,

    /// Send the token also to another machine without TLS, where everyone on the way can read it.
    #[arg(
        long,
        env = "SNAPLEDGER_TOKEN_INSECURE",
        value_parser = clap::builder::FalseyValueParser::new(),
        help_heading = HEADING
    )]
    pub insecure: bool,
}

/// What a command presents to nodes.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// TLS, if a CA is given.
    pub tls: Option<ClientTls>,
    /// Whether a certificate is presented.
    pub has_certificate: bool,
    token: Option<Arc<str>>,
    insecure: bool,
}

impl ConnectionOptions {
    /// Reads the files.
    ///
    /// # Errors
    /// [`CliError::Usage`], with what to do.
    pub fn connection(&self) -> Result<Connection, CliError> {
        let pair = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(ClientPair {
                cert: cert.clone(),
                key: key.clone(),
            }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(usage(
                    "--cert needs the key of the certificate; add --key FILE",
                ));
            }
            (None, Some(_)) => return Err(usage("--key needs a certificate; add --cert FILE")),
        };
        let tls = match (&self.ca, pair) {
            (Some(ca), pair) => {
                let files = ClientFiles {
                    ca: ca.clone(),
                    pair,
                };
                Some(ClientTls::load(&files).map_err(|error| usage(&error.to_string()))?)
            }
            (None, Some(_)) => {
                return Err(usage(
                    "--cert is used over TLS only; add --ca FILE with the CA of the nodes",
                ));
            }
            (None, None) => None,
        };
        Ok(Connection {
            tls,
            has_certificate: self.cert.is_some(),
            token: self.token()?,
            insecure: self.insecure,
        })
    }

    fn token(&self) -> Result<Option<Arc<str>>, CliError> {
        let text = match &self.token_file {
            Some(path) => {
                let content =
                    read_private(path).map_err(|error| usage(&format!("--token-file: {error}")))?;
                String::from_utf8(content).unwrap_or_default()
            }
            None => match std::env::var("SNAPLEDGER_TOKEN") {
                Ok(token) => token,
                Err(_) => return Ok(None),
            },
        };
        let token = text.trim();
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        match is_token {
            true => Ok(Some(token.into())),
            false => Err(usage(
                "the token is not one line of printable characters; write what `snapledger token create` printed, alone, \
                 into the file of --token-file",
            )),
        }
    }
}

impl Connection {
    /// The credentials for a node at `authority` (`host:port`), by TLS or not.
    ///
    /// # Errors
    /// [`CliError::Usage`]: there is no CA for TLS, or the token would be sent in clear to another machine.
    pub fn credentials(
        &self,
        option: &str,
        is_tls: bool,
        authority: &str,
    ) -> Result<Credentials, CliError> {
        if is_tls && self.tls.is_none() {
            return Err(usage(&format!(
                "{option}: https:// needs the CA of the nodes; add --ca FILE (the ca.crt that `snapledger cert init` made)"
            )));
        }
        if !is_tls && self.token.is_some() && !self.insecure && !is_loopback(authority) {
            return Err(usage(&format!(
                "{option}: everyone on the way to {authority} could read the token; use https:// and --ca FILE, or accept \
                 that with --insecure"
            )));
        }
        Ok(Credentials {
            tls: self.tls.clone().filter(|_| is_tls),
            token: self.token.clone(),
        })
    }
}

// Whether the host of `host:port` is this machine.
fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn usage(why: &str) -> CliError {
    CliError::Usage(why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn with_token() -> Connection {
        Connection {
            token: Some("sl_x".into()),
            ..Connection::default()
        }
    }

    // Without this a mistyped address sends the token to whoever listens on the way.
    #[test]
    fn a_token_is_sent_in_clear_to_this_machine_only() {
        for here in [
            "127.0.0.1:7201",
            "localhost:7201",
            "[::1]:7201",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(
                with_token().credentials("--rest", false, here).is_ok(),
                "{here}"
            );
        }
        for there in [
            "10.0.0.1:7201",
            "n1:7201",
            "localhost.example.org:1",
            "[2001:db8::1]:1",
        ] {
            let refused = with_token().credentials("--rest", false, there);
            let refused = refused.map(|_| ()).expect_err(there);
            assert_eq!(refused.exit_code(), 2, "{refused}");
            let insecure = Connection {
                insecure: true,
                ..with_token()
            };
            assert!(
                insecure.credentials("--rest", false, there).is_ok(),
                "{there}"
            );
            let nothing = Connection::default();
            assert!(
                nothing.credentials("--rest", false, there).is_ok(),
                "there is no token"
            );
        }
        let refused = with_token().credentials("--rest", true, "n1:1").map(|_| ());
        let refused = refused.expect_err("there is no CA");
        assert!(refused.to_string().contains("add --ca FILE"), "{refused}");
    }

    #[test]
    fn a_token_file_is_private_and_holds_one_token() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("token");
        let options = ConnectionOptions {
            token_file: Some(path.clone()),
            ..ConnectionOptions::default()
        };
        let read = |text: &str, mode| {
            std::fs::write(&path, text).expect("there is room");
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("it is ours");
            options.token().map_err(|error| error.to_string())
        };
        assert_eq!(read(" sl_abc\n", 0o600), Ok(Some("sl_abc".into())));
        for odd in ["", "\n", "sl_a\nsl_b", "sl_\u{e4}"] {
            let refused = read(odd, 0o600).expect_err("it is no token");
            assert!(refused.contains("one line"), "{refused}");
        }
        let refused = read("sl_abc", 0o640).expect_err("others can read it");
        assert!(refused.contains("run: chmod 600"), "{refused}");
    }

    #[test]
    fn half_a_certificate_is_refused() {
        for (cert, key) in [(Some("c"), None), (None, Some("k")), (Some("c"), Some("k"))] {
            let options = ConnectionOptions {
                cert: cert.map(PathBuf::from),
                key: key.map(PathBuf::from),
                ..ConnectionOptions::default()
            };
            let refused = options
                .connection()
                .map(|_| ())
                .expect_err("a part is missing");
            assert_eq!(refused.exit_code(), 2, "{refused}");
        }
    }
}
