//! The caller of a request: its name, its rights, and what the audit trail notes of the call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::Extensions;
use jiff::Timestamp;
use tokio::sync::watch;

use super::expiry::expired;
use super::role::{Capacity, Need};
use crate::process::answer::Answer;
use crate::process::ids::{ID_BYTES_MAX, Lsn};

/// By what a caller has proven its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A token of the token file.
    Token,
    /// A JWT of the configured issuer.
    Jwt,
    /// A client certificate.
    Certificate,
}

impl Via {
    /// The word for it, as in the audit trail.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Jwt => "jwt",
            Self::Certificate => "certificate",
        }
    }
}

/// The rights of one name.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The name.
    pub name: String,
    /// How it is proven.
    pub via: Via,
    /// In which capacity it calls.
    pub capacity: Capacity,
    /// The beginnings of the accounts and keys that it may use; empty: all.
    pub accounts: Vec<String>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Closed when the grant is withdrawn.
    pub(super) live: watch::Receiver<()>,
}

/// The caller of a request, in its extensions. Without authentication it is anyone, with all rights.
#[derive(Debug, Clone, Default)]
pub struct Caller(Option<Arc<Known>>);

struct Known {
    grant: Arc<Grant>,
    notes: Notes,
    /// Called when the last part of the call has ended.
    at_end: OnceLock<AtEnd>,
}

type AtEnd = Box<dyn FnOnce(&Grant, &Notes) + Send + Sync>;

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(report) = self.at_end.take() {
            report(&self.grant, &self.notes);
        }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Known").field(&self.grant).finish()
    }
}

/// What a call has done, for the audit trail.
#[derive(Debug, Default)]
pub struct Notes {
    operations: AtomicU64,
    refused: AtomicU64,
    position: AtomicU64,
    /// The kind of the first refusal.
    refusal: OnceLock<&'static str>,
    snapshot: OnceLock<Box<str>>,
}

/// What the operations of a call came to.
#[derive(Debug, Default)]
pub struct Tally {
    refused: u64,
    /// The newest turn that made one of them.
    position: Lsn,
    refusal: Option<&'static str>,
}

impl Tally {
    /// Adds the answer to an operation. A refused one is in no turn, so its position is not counted.
    pub fn add(&mut self, answer: &Answer) {
        match &answer.outcome {
            Ok(_) => self.position = self.position.max(answer.position),
            Err(refusal) => {
                self.refused += 1;
                self.refusal.get_or_insert(refusal.kind());
            }
        }
    }
}

/// The caller is bound to other accounts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} may use only names that begin with {}, and the name in {field:?} does not; use another account, or a token that \
     is not bound to these",
    accounts.join(" or ")
)]
pub struct NotItsAccount {
    /// The name of the caller.
    pub name: String,
    /// The field that names the account or key.
    pub field: String,
    /// The beginnings that are allowed.
    pub accounts: Vec<String>,
}

impl Caller {
    /// A caller with these rights.
    #[must_use]
    pub fn known(grant: Arc<Grant>) -> Self {
        let notes = Notes::default();
        let at_end = OnceLock::new();
        Self(Some(Arc::new(Known {
            grant,
            notes,
            at_end,
        })))
    }

    /// The caller of a request with these extensions.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// The name of the caller; `None` without authentication.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.grant().map(|grant| &*grant.name)
    }

    /// The rights of the caller; `None`: all.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        self.0.as_ref().map(|known| &*known.grant)
    }

    /// Whether it is bound to some accounts.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.grant().is_some_and(|grant| !grant.accounts.is_empty())
    }

    /// Whether it may read what all accounts hold.
    #[must_use]
    pub fn may_audit(&self) -> bool {
        self.grant().is_none_or(|grant| match grant.capacity {
            Capacity::Role(role) => Need::Audit.roles().contains(&role),
            Capacity::Process => false,
        })
    }

    /// Whether it may use this account or key.
    #[must_use]
    pub fn may_touch(&self, account: &str) -> bool {
        let Some(grant) = self.grant() else {
            return true;
        };
        let mut accounts = grant.accounts.iter();
        grant.accounts.is_empty() || accounts.any(|prefix| account.starts_with(prefix))
    }

    /// Checks that it may use the account or key in `field`.
    ///
    /// # Errors
    /// [`NotItsAccount`].
    pub fn check(
        &self,
        field: impl FnOnce() -> String,
        account: &str,
    ) -> Result<(), NotItsAccount> {
        if self.may_touch(account) {
            return Ok(());
        }
        let grant = self.grant();
        Err(NotItsAccount {
            name: grant.map(|grant| grant.name.clone()).unwrap_or_default(),
            field: field(),
            accounts: grant
                .map(|grant| grant.accounts.clone())
                .unwrap_or_default(),
        })
    }

    /// Resolves when its rights end: they expire or are withdrawn.
    pub async fn ended(self) {
        let Some(known) = self.0 else {
            return std::future::pending().await;
        };
        let grant = Arc::clone(&known.grant);
        drop(known);
        let mut live = grant.live.clone();
        let withdrawn = async { while live.changed().await.is_ok() {} };
        tokio::select! {
            () = withdrawn => {}
            () = expired(grant.expires) => {}
        }
    }

    /// Whether its rights have ended. [`Caller::ended`] may be woken a moment later.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.grant().is_some_and(|grant| {
            let is_withdrawn = grant.live.has_changed().is_err();
            is_withdrawn || grant.expires.is_some_and(|at| at <= Timestamp::now())
        })
    }

    /// Notes how many operations a call asked for.
    pub fn note_operations(&self, count: usize) {
        if let Some(known) = &self.0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            known.notes.operations.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Notes the answer to the only operation of a call.
    pub fn note_answer(&self, answer: &Answer) {
        let mut tally = Tally::default();
        tally.add(answer);
        self.note(tally);
    }

    /// Notes what operations of a call came to.
    pub fn note(&self, tally: Tally) {
        if let Some(known) = &self.0 {
            let notes = &known.notes;
            notes
                .position
                .fetch_max(tally.position.0, Ordering::Relaxed);
            notes.refused.fetch_add(tally.refused, Ordering::Relaxed);
            if let Some(refusal) = tally.refusal {
                let _first = notes.refusal.set(refusal);
            }
        }
    }

    /// Notes the turn in which a call was carried out that is no operation of the bank.
    pub fn note_position(&self, position: Lsn) {
        self.note(Tally {
            position,
            ..Tally::default()
        });
    }

    /// Notes that a call is refused by an answer that is no failure in its protocol.
    pub fn note_refusal(&self, kind: &'static str) {
        self.note(Tally {
            refused: 1,
            refusal: Some(kind),
            ..Tally::default()
        });
    }

    /// Notes the snapshot of a call; the first counts. A longer text than an id is cut.
    pub fn note_snapshot(&self, snapshot: &str) {
        if let Some(known) = &self.0 {
            let id = &snapshot[..snapshot.floor_char_boundary(ID_BYTES_MAX)];
            let _first = known.notes.snapshot.set(id.into());
        }
    }

    /// Has the call reported when its last part has ended: the last clone of this caller is dropped.
    pub(super) fn at_end(&self, report: impl FnOnce(&Grant, &Notes) + Send + Sync + 'static) {
        if let Some(known) = &self.0 {
            let _first = known.at_end.set(Box::new(report));
        }
    }

    /// What was noted.
    pub(super) fn notes(&self) -> Option<&Notes> {
        self.0.as_ref().map(|known| &known.notes)
    }
}

impl Notes {
    pub(super) fn operations(&self) -> Option<u64> {
        Some(self.operations.load(Ordering::Relaxed)).filter(|count| *count > 0)
    }

    /// How many operations are refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn refusal(&self) -> Option<&'static str> {
        self.refusal.get().copied()
    }

    pub(super) fn position(&self) -> Option<u64> {
        Some(self.position.load(Ordering::Relaxed)).filter(|position| *position > 0)
    }

    pub(super) fn snapshot(&self) -> Option<&str> {
        self.snapshot.get().map(|snapshot| &**snapshot)
    }
}

#[cfg(test)]
impl Caller {
    /// A caller with this name and all rights of a teller, for tests.
    pub(crate) fn named(name: &str, via: Via) -> Self {
        let (_, live) = watch::channel(());
        let grant = Grant {
            name: name.to_owned(),
            via,
            capacity: Capacity::Role(super::role::Role::Teller),
            accounts: Vec::new(),
            expires: None,
            live,
        };
        Self::known(Arc::new(grant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_noted_up_to_the_length_of_an_id() {
        let (live, is_live) = watch::channel(());
        let grant = Grant {
            name: "audit-2026".to_owned(),
            via: Via::Token,
            capacity: Capacity::Process,
            accounts: Vec::new(),
            expires: None,
            live: is_live,
        };
        let caller = Caller::known(Arc::new(grant));
        // The limit is inside a character of three bytes.
        caller.note_snapshot(&"€".repeat(1000));
        let noted = caller.notes().and_then(Notes::snapshot);
        assert_eq!(noted, Some(&*"€".repeat(ID_BYTES_MAX / 3)));
        drop(live);
    }
}
