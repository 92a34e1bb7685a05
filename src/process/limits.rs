//! The limits of what a process stores for clients.
//!
//! They are configuration and may change between two runs, so no replay depends on them: only `decide` looks at them. What
//! exceeds a limit is refused before anything is journaled. A message of a channel cannot be refused: a credit that would open
//! an account over the limit goes to `suspense`, and a write of a key is taken, since all processes must hold the same keys.

use super::requests::REQUESTS_KEPT_MAX;

/// The most that a process stores for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Accounts.
    pub accounts: u64,
    /// Keys, including deleted ones, of which the deletion is stored.
    pub keys: u64,
    /// Keys and values together, bytes.
    pub value_bytes: u64,
    /// Remembered answers to clients, at most [`REQUESTS_KEPT_MAX`]. The oldest is forgotten for a new one.
    pub requests: usize,
}

impl Default for Limits {
    /// No limits beside those of the store format.
    fn default() -> Self {
        Self {
            accounts: u64::MAX,
            keys: u64::MAX,
            value_bytes: u64::MAX,
            requests: REQUESTS_KEPT_MAX,
        }
    }
}
