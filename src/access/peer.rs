//! Calls of processes: the process that a caller has proven to be, and the one in whose name it speaks.

use std::sync::Arc;

use super::connection::Connection;
use super::identity::{Holder, Identity};
use crate::process::ids::ProcessId;

/// The caller of a call between processes.
#[derive(Debug, Clone)]
pub enum Peer {
    /// The node has no TLS, so anyone speaks for any process.
    Unproven,
    /// The identity that the caller's certificate proves, a process of this cluster.
    Proven(Arc<Identity>),
}

/// A caller may not make a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotThePeer {
    /// It has not proven to be a process.
    #[error("this call is for processes of cluster {cluster:?}, and the caller {caller}")]
    NoProcess {
        /// The cluster of the node.
        cluster: String,
        /// What the caller has proven, as words that follow "the caller".
        caller: String,
    },
    /// It is a process that this node does not have in its cluster.
    #[error(
        "the caller has the certificate of {0}, which this node does not have in its cluster; name the process in cluster.toml \
         on every node"
    )]
    NoMember(String),
    /// It speaks in the name of another process.
    #[error(
        "the caller has the certificate of {proven}, and speaks in the name of process {claimed:?}"
    )]
    OtherProcess {
        /// The identity in its certificate.
        proven: String,
        /// The process that the call names.
        claimed: String,
    },
}

impl Peer {
    /// The peer at the other end of a connection. `proof` says whether one is demanded, as it is with TLS.
    ///
    /// # Errors
    /// [`NotThePeer::NoProcess`].
    pub fn of(
        connection: Option<&Connection>,
        cluster: &str,
        proof: bool,
    ) -> Result<Self, NotThePeer> {
        if !proof {
            return Ok(Self::Unproven);
        }
        let identity = connection.and_then(|connection| connection.identity.as_ref());
        let is_process = |identity: &&Arc<Identity>| {
            identity.cluster == cluster && matches!(identity.holder, Holder::Process(_))
        };
        match identity.filter(is_process) {
            Some(identity) => Ok(Self::Proven(Arc::clone(identity))),
            None => Err(NotThePeer::NoProcess {
                cluster: cluster.to_owned(),
                caller: identity.map_or_else(
                    || "presented no certificate".to_owned(),
                    |identity| format!("has the certificate of {identity}"),
                ),
            }),
        }
    }

    /// Checks that the caller is one of the members of the cluster.
    ///
    /// # Errors
    /// [`NotThePeer::NoMember`].
    pub fn among(self, is_member: impl FnOnce(&ProcessId) -> bool) -> Result<Self, NotThePeer> {
        match &self {
            Self::Proven(identity) => match &identity.holder {
                Holder::Process(process) if is_member(process) => Ok(self),
                _ => Err(NotThePeer::NoMember(identity.to_string())),
            },
            Self::Unproven => Ok(self),
        }
    }

    /// Checks that the caller speaks in its own name. Every field of a call in which a process names itself is checked.
    ///
    /// # Errors
    /// [`NotThePeer::OtherProcess`].
    pub fn check(&self, claimed: &str) -> Result<(), NotThePeer> {
        match self {
            Self::Unproven => Ok(()),
            Self::Proven(identity) if is_of(identity, claimed) => Ok(()),
            Self::Proven(identity) => Err(NotThePeer::OtherProcess {
                proven: identity.to_string(),
                claimed: claimed.to_owned(),
            }),
        }
    }
}

fn is_of(identity: &Identity, process: &str) -> bool {
    matches!(&identity.holder, Holder::Process(own) if own.as_str() == process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(uri: Option<&str>) -> Connection {
        Connection {
            address: ([127, 0, 0, 1], 1).into(),
            identity: uri.map(|uri| Arc::new(Identity::parse(uri).expect("an identity"))),
            expires: None,
        }
    }

    #[test]
    fn a_process_speaks_in_its_own_name_alone() {
        let n2 = connection(Some("snapledger://bank/process/n2"));
        let peer = Peer::of(Some(&n2), "bank", true).expect("a process");
        assert_eq!(peer.check("n2"), Ok(()));
        let forged = peer.check("n1").expect_err("another process");
        let removed = peer.clone().among(|process| process.as_str() == "n1");
        let removed = removed.expect_err("n2 is no member").to_string();
        assert!(removed.contains("cluster.toml"), "{removed}");
        assert_eq!(
            forged.to_string(),
            "the caller has the certificate of snapledger://bank/process/n2, and speaks in the name of process \"n1\""
        );
    }

    #[test]
    fn only_a_process_of_this_cluster_is_a_peer_and_without_tls_anyone() {
        for (uri, caller) in [
            (None, "presented no certificate"),
            (Some("snapledger://bank/client/n2"), "client/n2"),
            (Some("snapledger://other/process/n2"), "other/process/n2"),
        ] {
            let connection = connection(uri);
            let refused = Peer::of(Some(&connection), "bank", true).expect_err("no peer");
            assert!(refused.to_string().ends_with(caller), "{refused}");
            let anyone = Peer::of(Some(&connection), "bank", false).expect("without TLS");
            assert_eq!(anyone.check("n1"), Ok(()));
        }
        assert!(
            Peer::of(None, "bank", true).is_err(),
            "no connection is known"
        );
    }
}
