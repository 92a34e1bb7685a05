//! Identities: the URI in the subject alternative name of a certificate, such as `snapledger://bank/process/n1`.

use std::fmt;

use crate::process::hidden::is_hidden;
use crate::process::ids::ProcessId;

/// The scheme of identities, with the delimiter of the cluster.
pub const SCHEME: &str = "snapledger://";

/// A participant or client of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name of the cluster.
    pub cluster: String,
    /// The holder of the certificate.
    pub holder: Holder,
}

/// The holder of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process of the cluster.
    Process(ProcessId),
    /// A client; its rights are configured under this name.
    Client(String),
}

/// The URI is not an identity of this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an identity; write snapledger://CLUSTER/process/ID or snapledger://CLUSTER/client/NAME"
)]
pub struct NotAnIdentity(pub String);

impl Identity {
    /// Parses `snapledger://CLUSTER/process/ID` or `snapledger://CLUSTER/client/NAME`. Names are percent-encoded.
    ///
    /// # Errors
    /// [`NotAnIdentity`].
    pub fn parse(uri: &str) -> Result<Self, NotAnIdentity> {
        Self::read(uri).ok_or_else(|| NotAnIdentity(uri.to_owned()))
    }

    fn read(uri: &str) -> Option<Self> {
        let mut segments = uri.strip_prefix(SCHEME)?.split('/');
        let (cluster, kind) = (decoded(segments.next()?)?, segments.next()?);
        let name = decoded(segments.next()?)?;
        let holder = match kind {
            "process" => Holder::Process(ProcessId::parse(&name).ok()?),
            "client" => Holder::Client(name),
            _ => return None,
        };
        let is_whole = segments.next().is_none();
        is_whole.then_some(Self { cluster, holder })
    }
}

// A name that is not empty and has no hidden characters.
fn decoded(segment: &str) -> Option<String> {
    let name = percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .ok()?;
    let is_name = !name.is_empty() && !name.chars().any(is_hidden);
    is_name.then(|| name.into_owned())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded =
            |name| percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let (kind, name) = match &self.holder {
            Holder::Process(id) => ("process", id.as_str()),
            Holder::Client(name) => ("client", name.as_str()),
        };
        write!(
            f,
            "{SCHEME}{}/{kind}/{}",
            encoded(&self.cluster),
            encoded(name)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_parsed_as_it_was_written() {
        let process = Holder::Process(ProcessId::parse("n/1").expect("an id"));
        for holder in [process, Holder::Client("audit 2026 %".to_owned())] {
            let cluster = "bank/eu".to_owned();
            let identity = Identity { cluster, holder };
            assert_eq!(Identity::parse(&identity.to_string()), Ok(identity));
        }
        let plain = Identity::parse("snapledger://bank/process/n1").expect("an identity");
        assert_eq!(plain.to_string(), "snapledger://bank/process/n1");
    }

    #[test]
    fn anything_else_is_no_identity() {
        for uri in [
            "",
            "https://bank/process/n1",
            "snapledger://bank/process",
            "snapledger://bank/process/",
            "snapledger:///process/n1",
            "snapledger://bank/operator/n1",
            "snapledger://bank/process/n1/n2",
            "snapledger://bank/process/n%00",
            "snapledger://bank/process/%ff",
            "snapledger://bank/client/%E2%80%AEspo",
        ] {
            assert_eq!(Identity::parse(uri), Err(NotAnIdentity(uri.to_owned())));
        }
    }
}
