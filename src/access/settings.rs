//! The settings of authentication, validated.

use std::path::PathBuf;
use std::time::Duration;

use super::role::Role;

/// How clients prove who they are, and what they may do. At least one way is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// The token file.
    pub tokens: Option<PathBuf>,
    /// The issuer of JWTs.
    pub jwt: Option<JwtSettings>,
    /// The clients that a certificate names.
    pub clients: Vec<CertifiedClient>,
    /// Where the audit trail is written; `None`: to the log, with the target `audit`.
    pub audit_log: Option<PathBuf>,
}

/// The issuer of JWTs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// The file with its key set (JWKS).
    pub keys: PathBuf,
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
    /// The claim that holds the role.
    pub role_claim: String,
    /// The longest time from the issue of a token to its end.
    pub lifetime_max: Duration,
}

/// A client whose certificate names it as `snapledger://CLUSTER/client/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedClient {
    /// The name in the certificate.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The beginnings of the accounts and keys that it may use; empty: all.
    pub accounts: Vec<String>,
}
