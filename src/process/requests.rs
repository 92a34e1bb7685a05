//! Remembered answers, which make repeated requests idempotent.
//!
//! Successes are journaled and are part of every recorded state, within limits. A refusal has changed nothing: it is remembered
//! only in memory, and after a restart its request is decided again. Nothing durable depends on it.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;

use super::answer::Answer;
use super::cell::{Answered, Cell};
use super::ids::{ProcessId, RequestId};
use super::input::Operation;
use super::message::Body;

/// The maximum number of remembered answers; the oldest are dropped first.
pub const REQUESTS_KEPT_MAX: usize = 262_144;

/// The maximum size of the answers in memory and in a recorded state, bytes: enough for the full number with ids of 48 bytes.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// The approximate size of an answer in a recorded state without its request id and transfer id, bytes.
const ANSWER_BYTES: usize = 72;
/// The additional size of a refusal in a journal of formats up to 4, bytes.
const REFUSAL_BYTES: usize = 512;

/// The maximum number of remembered refusals, each some hundred bytes.
const REFUSALS_KEPT_MAX: usize = 32_768;

/// The initial capacity for the fields of an operation, bytes; enough for most.
const FINGERPRINTED: usize = 256;

/// The remembered answers of one process.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    answers: AHashMap<RequestId, Arc<Answered>>,
    /// By ordinal, oldest first, except after answers were restored: the next change sorts them.
    order: VecDeque<(u64, RequestId)>,
    are_in_order: bool,
    /// The size of all answers, bytes.
    bytes: usize,
    /// The answers added and dropped since the last seal.
    delta: Vec<Cell>,
    refusals: Refusals,
}

/// The refusals since the process was started.
#[derive(Debug, Clone, Default)]
struct Refusals {
    answers: AHashMap<RequestId, Answered>,
    /// Oldest first.
    order: VecDeque<RequestId>,
}

impl Requests {
    /// The answer to the request with this id.
    #[must_use]
    pub fn get(&self, request: &RequestId) -> Option<&Answered> {
        let done = self.answers.get(request).map(Arc::as_ref);
        done.or_else(|| self.refusals.answers.get(request))
    }

    /// The number of the oldest answers to drop, so that one more with this request id and transfer id stays within the limits:
    /// that of the size, and `kept_max` answers.
    #[must_use]
    pub fn too_many_for(
        &self,
        request: &RequestId,
        transfer: Option<&str>,
        kept_max: usize,
    ) -> u32 {
        // Restored answers are sorted by the next change; until then none is dropped.
        if !self.are_in_order {
            return 0;
        }
        let mut bytes = self.bytes + answer_bytes(request, transfer);
        // `remember` keeps to the greatest number without a record.
        let kept_max = match kept_max < REQUESTS_KEPT_MAX {
            true => kept_max,
            false => usize::MAX,
        };
        let mut left = self.order.len();
        let mut oldest = self.order.iter();
        let mut count = 0;
        while (bytes > KEPT_BYTES_MAX || left >= kept_max)
            && let Some((_, request)) = oldest.next()
        {
            bytes -= self
                .answers
                .get(request)
                .map_or(0, |known| bytes_of(request, known));
            left -= 1;
            count += 1;
        }
        count
    }

    /// Remembers a refusal until the process ends.
    pub fn refuse(&mut self, request: RequestId, fingerprint: u64, answer: Answer) {
        let Refusals { answers, order } = &mut self.refusals;
        let ordinal = 0;
        let answered = Answered {
            fingerprint,
            ordinal,
            answer,
        };
        if answers.insert(request.clone(), answered).is_none() {
            order.push_back(request);
        }
        if order.len() > REFUSALS_KEPT_MAX
            && let Some(oldest) = order.pop_front()
        {
            answers.remove(&oldest);
        }
    }

    /// Drops this many of the oldest answers.
    pub fn forget(&mut self, count: u32) {
        self.put_in_order();
        for _ in 0..count {
            self.forget_oldest();
        }
    }

    /// Remembers an answer and drops the oldest ones beyond the limit.
    pub fn remember(&mut self, request: &RequestId, fingerprint: u64, answer: Answer) {
        self.put_in_order();
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
        self.bytes += bytes_of(request, &answered);
        self.answers.insert(request.clone(), answered);
        self.order.push_back((ordinal, request.clone()));
        while self.order.len() > REQUESTS_KEPT_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, request)) = self.order.pop_front() else {
            return;
        };
        if let Some(answered) = self.answers.remove(&request) {
            self.bytes -= bytes_of(&request, &answered);
        }
        let answered = None;
        self.delta.push(Cell::Request { request, answered });
    }

    fn put_in_order(&mut self) {
        if !std::mem::replace(&mut self.are_in_order, true) {
            let order = self.order.make_contiguous();
            order.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        }
    }

    /// Sets an answer from a recorded state; this does not count as a change.
    pub fn restore(&mut self, request: RequestId, answered: Arc<Answered>) {
        self.are_in_order = false;
        self.bytes += bytes_of(&request, &answered);
        self.order.push_back((answered.ordinal, request.clone()));
        self.answers.insert(request, answered);
    }

    /// Hands over the changes since the last call, in constant time.
    pub fn seal(&mut self) -> Vec<Cell> {
        std::mem::take(&mut self.delta)
    }
}

/// A hash that detects different content under the same id; stable across versions.
fn fingerprint(fields: &[&str]) -> u64 {
    let mut bytes = Vec::with_capacity(FINGERPRINTED);
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    let hash = *blake3::hash(&bytes).as_bytes();
    u64::from_le_bytes(hash[..8].try_into().expect("eight bytes of thirty-two"))
}

// Writing a key and deleting it have different fingerprints, even if the value is empty.
fn write_kind(value: Option<&str>) -> &'static str {
    if value.is_some() { "put" } else { "delete" }
}

fn answer_bytes(request: &RequestId, transfer: Option<&str>) -> usize {
    ANSWER_BYTES + request.as_str().len() + transfer.map_or(0, str::len)
}

fn bytes_of(request: &RequestId, answered: &Answered) -> usize {
    match &answered.answer.outcome {
        Ok(receipt) => answer_bytes(request, receipt.transfer_id.as_deref()),
        Err(_) => answer_bytes(request, None) + REFUSAL_BYTES,
    }
}

impl Operation {
    /// A hash that detects another operation under the same request id.
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
                // What a client may learn is no part of what it asks for.
                is_blind: _,
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
    /// A hash that detects another message under the same message id. It leaves out the stamp: a repeated put may carry a later
    /// one and writes the same.
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
