//! Remembered answers, which make repeated requests idempotent.
//!
//! Successes are journaled and are part of every recorded state, within limits. A refusal has changed nothing: it is remembered
//! only in memory, and after a restart its request is decided again. Nothing durable depends on it.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;

use super::answer::{Answer, Excess};
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

/// The maximum number of remembered answers to processes, which have an order of their own. With ids of any length they stay
/// below the size of all answers, so that forgetting answers to clients always makes room.
const OF_PROCESSES_MAX: usize = 65_536;

/// The namespaces of ids of processes: messages and markers that arrive by unary calls. No id of a client begins so.
pub const MESSAGES: &str = "call/";
/// See [`MESSAGES`].
pub const MARKERS: &str = "marker/";

/// The remembered answers of one process.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    answers: AHashMap<RequestId, Arc<Answered>>,
    /// A process of another make repeats a message until it is answered, and only the remembered answer tells that it was
    /// delivered. So clients must not be able to have it forgotten.
    of_processes: Order,
    of_clients: Order,
    are_in_order: bool,
    /// The answers added and dropped since the last seal.
    delta: Vec<Cell>,
    refusals: Refusals,
}

/// The ids of answers that are forgotten in one order.
#[derive(Debug, Clone, Default)]
struct Order {
    /// By ordinal, oldest first, except after answers were restored: the next change sorts them.
    oldest_first: VecDeque<(u64, RequestId)>,
    /// The size of their answers, bytes.
    bytes: usize,
}

/// A number of answers and their size.
#[derive(Debug, Clone, Copy)]
struct Size {
    answers: usize,
    bytes: usize,
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

    /// The answers to forget, so that one more with this request id and transfer id stays within the limits: those of number and
    /// size of all answers, that of answers to processes, and `of_clients_max` answers to clients. `None` if there is room.
    #[must_use]
    pub fn excess_for(
        &self,
        request: &RequestId,
        transfer: Option<&str>,
        of_clients_max: usize,
    ) -> Option<Excess> {
        let bytes = answer_bytes(request, transfer);
        let is_of_process = is_of_process(request);
        // The usual case, on the path of every named operation.
        let (answers, kept) = (&self.of_clients.oldest_first, self.of_clients.bytes);
        if !is_of_process
            && self.of_processes.oldest_first.is_empty()
            && answers.len() < of_clients_max
            && kept + bytes <= KEPT_BYTES_MAX
        {
            return None;
        }
        let room = Size {
            answers: OF_PROCESSES_MAX - usize::from(is_of_process),
            bytes: KEPT_BYTES_MAX,
        };
        let (of_processes, kept) = self.excess(&self.of_processes, room);
        let room = Size {
            answers: match is_of_process {
                true => of_clients_max.min(REQUESTS_KEPT_MAX - 1 - kept.answers),
                // `remember` keeps to the greatest number without a record.
                false if kept.answers == 0 && of_clients_max == REQUESTS_KEPT_MAX => usize::MAX,
                false => (of_clients_max.min(REQUESTS_KEPT_MAX - kept.answers)).saturating_sub(1),
            },
            bytes: KEPT_BYTES_MAX.saturating_sub(kept.bytes + bytes),
        };
        let (of_clients, _) = self.excess(&self.of_clients, room);
        let excess = Excess {
            of_processes,
            of_clients,
        };
        (of_processes > 0 || of_clients > 0).then_some(excess)
    }

    // The number of answers over the room, and the size of the others. Before restored answers are sorted, others than the oldest
    // are measured; the difference in size evens out.
    fn excess(&self, order: &Order, room: Size) -> (u32, Size) {
        let mut kept = Size {
            answers: order.oldest_first.len(),
            bytes: order.bytes,
        };
        let mut oldest = order.oldest_first.iter();
        let mut count = 0;
        while (kept.answers > room.answers || kept.bytes > room.bytes)
            && let Some((_, request)) = oldest.next()
        {
            let known = self.answers.get(request);
            kept.bytes -= known.map_or(0, |known| bytes_of(request, known));
            kept.answers -= 1;
            count += 1;
        }
        (count, kept)
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

    /// Drops this many of the oldest answers of both orders together, as journals before format 7 mean it.
    pub fn forget(&mut self, count: u32) {
        self.put_in_order();
        for _ in 0..count {
            self.forget_oldest();
        }
    }

    /// Drops the oldest answers of each order.
    pub fn forget_of_each(&mut self, excess: Excess) {
        self.put_in_order();
        for _ in 0..excess.of_processes {
            let oldest = self.of_processes.oldest_first.pop_front();
            self.drop_answer(oldest);
        }
        for _ in 0..excess.of_clients {
            let oldest = self.of_clients.oldest_first.pop_front();
            self.drop_answer(oldest);
        }
    }

    /// Remembers an answer and drops the oldest ones beyond the limit, of both orders together, as journals of all formats mean
    /// it. While there are answers to processes, [`Requests::excess_for`] makes room before.
    pub fn remember(&mut self, request: &RequestId, fingerprint: u64, answer: Answer) {
        self.put_in_order();
        let newest = self.of_processes.newest().max(self.of_clients.newest());
        let ordinal = newest + 1;
        let answered = Arc::new(Answered {
            fingerprint,
            ordinal,
            answer,
        });
        self.delta.push(Cell::Request {
            request: request.clone(),
            answered: Some(Arc::clone(&answered)),
        });
        self.insert(request.clone(), answered);
        while self.of_processes.oldest_first.len() + self.of_clients.oldest_first.len()
            > REQUESTS_KEPT_MAX
        {
            self.forget_oldest();
        }
    }

    fn insert(&mut self, request: RequestId, answered: Arc<Answered>) {
        let order = self.order_of(&request);
        order.bytes += bytes_of(&request, &answered);
        let ordinal = answered.ordinal;
        order.oldest_first.push_back((ordinal, request.clone()));
        self.answers.insert(request, answered);
    }

    fn order_of(&mut self, request: &RequestId) -> &mut Order {
        match is_of_process(request) {
            true => &mut self.of_processes,
            false => &mut self.of_clients,
        }
    }

    fn forget_oldest(&mut self) {
        let is_older = match (self.of_processes.oldest(), self.of_clients.oldest()) {
            (Some(of_process), Some(of_client)) => of_process < of_client,
            (of_process, _) => of_process.is_some(),
        };
        let order = match is_older {
            true => &mut self.of_processes,
            false => &mut self.of_clients,
        };
        let oldest = order.oldest_first.pop_front();
        self.drop_answer(oldest);
    }

    fn drop_answer(&mut self, oldest: Option<(u64, RequestId)>) {
        let Some((_, request)) = oldest else {
            return;
        };
        if let Some(answered) = self.answers.remove(&request) {
            self.order_of(&request).bytes -= bytes_of(&request, &answered);
        }
        let answered = None;
        self.delta.push(Cell::Request { request, answered });
    }

    fn put_in_order(&mut self) {
        if !std::mem::replace(&mut self.are_in_order, true) {
            for order in [&mut self.of_processes, &mut self.of_clients] {
                let order = order.oldest_first.make_contiguous();
                order.sort_unstable_by_key(|(ordinal, _)| *ordinal);
            }
        }
    }

    /// Sets an answer from a recorded state; this does not count as a change.
    pub fn restore(&mut self, request: RequestId, answered: Arc<Answered>) {
        self.are_in_order = false;
        self.insert(request, answered);
    }

    /// Hands over the changes since the last call, in constant time.
    pub fn seal(&mut self) -> Vec<Cell> {
        std::mem::take(&mut self.delta)
    }
}

impl Order {
    fn oldest(&self) -> Option<u64> {
        self.oldest_first.front().map(|(ordinal, _)| *ordinal)
    }

    fn newest(&self) -> u64 {
        self.oldest_first.back().map_or(0, |(ordinal, _)| *ordinal)
    }
}

fn is_of_process(request: &RequestId) -> bool {
    let id = request.as_str();
    id.starts_with(MESSAGES) || id.starts_with(MARKERS)
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
