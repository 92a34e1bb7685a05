//! Faults of certificates and keys, each with what to do.

use std::path::PathBuf;

use crate::access::private_file::PrivateFileError;

/// A certificate, key or bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or others can use a key or change what is trusted.
    #[error(transparent)]
    Key(#[from] PrivateFileError),
    /// The content is wrong.
    #[error("{}: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: TlsFault,
    },
}

/// What is wrong with a file, in a sentence that says how to correct it.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// It cannot be read.
    #[error("cannot be read: {0}; name a file that exists and that the program may read")]
    Unreadable(std::io::Error),
    /// It is larger than any certificate, key or bundle.
    #[error("has more than {0} bytes; name a PEM file of certificates or of a key")]
    TooLarge(u64),
    /// It has no certificate in PEM.
    #[error("has no certificate; write it in PEM, between BEGIN CERTIFICATE and END CERTIFICATE")]
    NoCertificate,
    /// It has no private key in PEM.
    #[error(
        "has no private key; write it in PEM without a passphrase, between BEGIN PRIVATE KEY and END PRIVATE KEY"
    )]
    NoKey,
    /// A certificate in it is malformed.
    #[error("has a malformed certificate: {0}; make it again, for example with `snapledger cert`")]
    Malformed(String),
    /// The key cannot be used.
    #[error("has a key that cannot be used: {0}; use an ECDSA (P-256, P-384), Ed25519 or RSA key")]
    BadKey(String),
    /// The key and the certificate are not a pair.
    #[error("is not the key of the certificate in {}; install both halves of one pair", .0.display())]
    OtherKey(PathBuf),
    /// A certificate in a bundle is not that of a CA.
    #[error(
        "has the certificate of {0}, which is not a CA; name the certificate of the CA that issued it"
    )]
    NotAnAuthority(String),
    /// The certificate has no usable identity.
    #[error(
        "{0}; make the certificate with `snapledger cert`, or add the URI to its subject alternative names"
    )]
    Identity(#[from] super::certificate::IdentityFault),
    /// The certificate is that of another process or cluster.
    #[error("is the certificate of {theirs}, and this node is {ours}; name its own certificate")]
    OtherIdentity {
        /// The identity in the certificate.
        theirs: String,
        /// The identity of the node.
        ours: String,
    },
    /// The validity of a certificate is over.
    #[error("{what} expired at {since}; {renewal}")]
    Expired {
        /// The certificate.
        what: String,
        /// The last second of its validity.
        since: String,
        /// How to replace it.
        renewal: String,
    },
    /// The validity of a certificate has not begun.
    #[error("{what} is not valid before {from}; set the clock of this machine, or {renewal}")]
    NotYetValid {
        /// The certificate.
        what: String,
        /// The first second of its validity.
        from: String,
        /// How to replace it.
        renewal: String,
    },
    /// Others that trust the same CAs would refuse the certificate.
    #[error("would be refused by nodes with the same `ca`: {0}")]
    Refused(rustls::Error),
    /// The configuration cannot be made.
    #[error("cannot be used: {0}")]
    Unusable(String),
}

impl TlsFault {
    /// Locates this fault in a file.
    #[must_use]
    pub fn of(self, path: impl Into<PathBuf>) -> TlsError {
        TlsError::File {
            path: path.into(),
            fault: self,
        }
    }
}
