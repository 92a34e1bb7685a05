//! Answers that are remembered, so that a repeated request is harmless.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;

use super::cell::{Answered, Cell};
use super::event::{Answer, Operation};
use super::ids::{ProcessId, RequestId};
use super::message::Body;

/// How many answers a process remembers; the oldest are forgotten first.
pub const REQUESTS_KEPT_MAX: usize = 262_144;

/// Room for the fields of most operations, bytes.
const FINGERPRINTED: usize = 256;

/// The remembered answers of one process.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    answers: AHashMap<RequestId, Arc<Answered>>,
    /// By their ordinals, oldest first, but for those that were restored since an answer was remembered.
    order: VecDeque<(u64, RequestId)>,
    are_in_order: bool,
    /// What was remembered and forgotten since the last seal.
    delta: Vec<Cell>,
}

impl Requests {
    /// What was answered to a request of this name.
    #[must_use]
    pub fn get(&self, request: &RequestId) -> Option<&Answered> {
        self.answers.get(request).map(Arc::as_ref)
    }

    /// Remembers an answer and forgets the oldest if there are too many.
    pub fn remember(&mut self, request: &RequestId, fingerprint: u64, answer: Answer) {
        if !std::mem::replace(&mut self.are_in_order, true) {
            let order = self.order.make_contiguous();
            order.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        }
        let ordinal = self.order.back().map_or(1, |(last, _)| last + 1);
        let answered = Arc::new(Answered {
            fingerprint,
            ordinal,
            answer,
        });
        self.delta.push(Cell::Request {
            request: request.clone(),
            answered: Some(Arc::clone(&answered)),
        });
        self.answers.insert(request.clone(), answered);
        self.order.push_back((ordinal, request.clone()));
        while self.order.len() > REQUESTS_KEPT_MAX {
            let (_, oldest) = self.order.pop_front().expect("it is longer than its limit");
            self.answers.remove(&oldest);
            self.delta.push(Cell::Request {
                request: oldest,
                answered: None,
            });
        }
    }

    /// Sets an answer found in a recorded state; it does not count as a change.
    pub fn restore(&mut self, request: RequestId, answered: Arc<Answered>) {
        self.are_in_order = false;
        self.order.push_back((answered.ordinal, request.clone()));
        self.answers.insert(request, answered);
    }

    /// Hands over what changed since the last call. Takes constant time.
    pub fn seal(&mut self) -> Vec<Cell> {
        std::mem::take(&mut self.delta)
    }
}

/// A number by which other content under the same name is noticed; stable across versions.
fn fingerprint(fields: &[&str]) -> u64 {
    let mut bytes = Vec::with_capacity(FINGERPRINTED);
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    let hash = *blake3::hash(&bytes).as_bytes();
    u64::from_le_bytes(hash[..8].try_into().expect("eight bytes of thirty-two"))
}

// Writing a key and deleting it differ, also where the value is empty.
fn write_kind(value: Option<&str>) -> &'static str {
    if value.is_some() { "put" } else { "delete" }
}

impl Operation {
    /// A number by which another operation under the same request id is noticed.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Deposit { account, amount } => {
                fingerprint(&["deposit", account.as_str(), &amount.to_string()])
            }
            Self::Withdraw { account, amount } => {
                fingerprint(&["withdraw", account.as_str(), &amount.to_string()])
            }
            Self::Transfer {
                from_account,
                to_process,
                to_account,
                amount,
            } => fingerprint(&[
                "transfer",
                from_account.as_str(),
                to_process.as_ref().map_or("", ProcessId::as_str),
                to_account.as_str(),
                &amount.to_string(),
            ]),
            Self::Put { key, value } => {
                let value = value.as_deref();
                fingerprint(&[write_kind(value), key.as_str(), value.unwrap_or("")])
            }
        }
    }
}

impl Body {
    /// A number by which another message under the same message id is noticed. A repeated put may carry a later stamp: it
    /// writes the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Transfer(transfer) => fingerprint(&[
                "transfer",
                &transfer.transfer_id,
                transfer.from_account.as_str(),
                transfer.to_account.as_str(),
                &transfer.amount.units().to_string(),
            ]),
            Self::Put(write) => {
                let value = write.value.as_deref();
                fingerprint(&[write_kind(value), write.key.as_str(), value.unwrap_or("")])
            }
            Self::Marker(marker) => fingerprint(&[
                "marker",
                marker.snapshot.as_str(),
                marker.initiator.as_str(),
            ]),
        }
    }
}
