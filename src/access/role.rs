//! Roles of clients, and what each kind of call needs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The role of a client.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Operations, and reads of single accounts. The only role that can be bound to accounts.
    Teller,
    /// All reads, exports and proofs, and taking snapshots.
    Auditor,
    /// Everything.
    Operator,
}

impl Role {
    /// All roles, from the least to the most powerful.
    pub const ALL: [Self; 3] = [Self::Teller, Self::Auditor, Self::Operator];

    /// The name in files and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Teller => "teller",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which capacity a caller calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// A client in a role.
    Role(Role),
    /// A process of this cluster.
    Process,
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => role.fmt(f),
            Self::Process => f.write_str("process"),
        }
    }
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the call reveals nothing of the bank.
    Public,
    /// Any role: the state of the cluster without accounts.
    Known,
    /// Reads of one account.
    Read,
    /// Operations on accounts and keys.
    Operation,
    /// Reads of everything, and snapshots.
    Audit,
    /// Changes of what is kept, and copies of the store.
    Operate,
    /// Taking part in the cluster.
    Process,
}

impl Need {
    /// The roles that may make such calls. [`Need::Public`] needs none of them.
    #[must_use]
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Public | Self::Known | Self::Read => &Role::ALL,
            Self::Operation => &[Role::Teller, Role::Operator],
            Self::Audit => &[Role::Auditor, Role::Operator],
            Self::Operate => &[Role::Operator],
            Self::Process => &[],
        }
    }

    /// Which clients may make such calls, in words.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Public => "anyone".to_owned(),
            Self::Process => "process".to_owned(),
            other => {
                let roles: Vec<&str> = other.roles().iter().map(|role| role.as_str()).collect();
                roles.join(", ")
            }
        }
    }
}
