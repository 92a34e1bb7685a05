//! Answers that are remembered, so that a repeated request is harmless.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::cell::{Answered, Cell};
use super::event::{Answer, Operation};
use super::ids::{ProcessId, RequestId};

/// How many answers a process remembers; the oldest are forgotten first.
pub const REQUESTS_KEPT_MAX: usize = 262_144;

/// The remembered answers of one process.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    answers: HashMap<RequestId, Arc<Answered>>,
    order: BTreeMap<u64, RequestId>,
    /// Requests that were answered or forgotten since the last seal.
    delta: HashSet<RequestId>,
}

impl Requests {
    /// What was answered to a request of this name.
    #[must_use]
    pub fn get(&self, request: &RequestId) -> Option<&Answered> {
        self.answers.get(request).map(Arc::as_ref)
    }

    /// Remembers an answer and forgets the oldest if there are too many.
    pub fn remember(&mut self, request: &RequestId, fingerprint: u64, answer: Answer) {
        let ordinal = self.order.last_key_value().map_or(1, |(last, _)| last + 1);
        self.restore(
            request.clone(),
            Arc::new(Answered {
                fingerprint,
                ordinal,
                answer,
            }),
        );
        self.delta.insert(request.clone());
        while self.order.len() > REQUESTS_KEPT_MAX {
            let (_, oldest) = self.order.pop_first().expect("it is longer than its limit");
            self.answers.remove(&oldest);
            self.delta.insert(oldest);
        }
    }

    /// Sets an answer found in a recorded state; it does not count as a change.
    pub fn restore(&mut self, request: RequestId, answered: Arc<Answered>) {
        self.order.insert(answered.ordinal, request.clone());
        self.answers.insert(request, answered);
    }

    /// Hands over what changed since the last call.
    pub fn seal(&mut self) -> Vec<Cell> {
        std::mem::take(&mut self.delta)
            .into_iter()
            .map(|request| Cell::Request {
                answered: self.answers.get(&request).cloned(),
                request,
            })
            .collect()
    }
}

impl Operation {
    /// A number by which another operation under the same request id is noticed; stable across versions.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        match self {
            Self::Deposit { account, amount } => {
                ["deposit", account.as_str(), &amount.to_string()]
                    .into_iter()
                    .for_each(&mut field);
            }
            Self::Withdraw { account, amount } => {
                ["withdraw", account.as_str(), &amount.to_string()]
                    .into_iter()
                    .for_each(&mut field);
            }
            Self::Transfer {
                from_account,
                to_process,
                to_account,
                amount,
            } => {
                let to_process = to_process.as_ref().map_or("", ProcessId::as_str);
                let accounts = (from_account.as_str(), to_account.as_str());
                [
                    "transfer",
                    accounts.0,
                    to_process,
                    accounts.1,
                    &amount.to_string(),
                ]
                .into_iter()
                .for_each(&mut field);
            }
            Self::Put { key, value } => {
                let kind = if value.is_some() { "put" } else { "delete" };
                [kind, key.as_str(), value.as_deref().unwrap_or("")]
                    .into_iter()
                    .for_each(&mut field);
            }
        }
        let bytes = *hasher.finalize().as_bytes();
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes of thirty-two"))
    }
}
