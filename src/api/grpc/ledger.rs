//! `snapledger.v1.LedgerService`: batches of operations, each operation with its own result.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::super::error::{Failure, id};
use super::super::identity;
use super::super::refused::told;
use super::stream::STALL;
use super::{handle_for, process_or_here, protocol};
use crate::access::caller::{Caller, Tally};
use crate::node::{Handle, PendingReplies};
use crate::process::answer::Answer;
use crate::process::command::{Commands, Operate};
use crate::process::ids::{AccountId, RequestId};
use crate::process::input::Operation;
use crate::proto::snapledger::ledger_service_server::LedgerService;
use crate::proto::snapledger::operation::Body;
use crate::proto::snapledger::{ApplyRequest, ApplyResponse, Operation as Asked, OperationResult};

/// The largest batch: one that the queue accepts as a whole even while other batches wait.
const OPERATIONS_MAX: usize = 8192;
/// The operations of one stream whose answers are unread; further batches wait.
const UNREAD_MAX: usize = 2 * OPERATIONS_MAX;
/// The same limit in batches, since a batch may be empty.
const BATCHES_MAX: usize = 64;

/// The service of one node.
pub(super) struct Ledger(pub(super) Handle);

#[tonic::async_trait]
impl LedgerService for Ledger {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let handle = handle_for(&request, &self.0);
        let asked = request.into_inner();
        let hidden = Hidden::of(&caller, &asked);
        let commands = commands(&caller, asked)?;
        caller.note_operations(commands.inputs().len());
        let answers = handle.ask_all(commands).await.map_err(Failure::from)?;
        Ok(Response::new(results(&handle, &caller, &hidden, answers)))
    }

    type StreamStream = Pin<Box<dyn Stream<Item = Result<ApplyResponse, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<ApplyRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (batches, answers) = mpsc::channel(BATCHES_MAX);
        let caller = Caller::of(request.extensions());
        let handle = self.0.clone();
        let reader = Reader {
            handle: handle_for(&request, &self.0),
            caller: caller.clone(),
            unread: Arc::new(Semaphore::new(UNREAD_MAX)),
            batches,
        };
        tokio::spawn(reader.read(request.into_inner()));
        let answers = ReceiverStream::new(answers).then(move |batch: Result<Batch, Status>| {
            let (handle, caller) = (handle.clone(), caller.clone());
            async move {
                let mut batch = batch?;
                let answers = batch.replies.take().await.map_err(Failure::from)?;
                batch.is_answered = true;
                Ok(results(&handle, &caller, &batch.hidden, answers))
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A batch whose answer is not yet sent.
struct Batch {
    replies: PendingReplies<Operate>,
    hidden: Hidden,
    caller: Caller,
    is_answered: bool,
    /// Released when the answer is sent.
    _unread: OwnedSemaphorePermit,
}

// The operations of a batch are carried out also if the client takes no answer. The audit trail then waits for them.
impl Drop for Batch {
    fn drop(&mut self) {
        if self.is_answered || self.caller.grant().is_none() {
            return;
        }
        let replies = std::mem::replace(&mut self.replies, PendingReplies::none());
        let caller = self.caller.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut tally = Tally::default();
                if let Ok(answers) = replies.patiently().all().await {
                    answers.for_each(|answer| tally.add(&answer));
                }
                caller.note(tally);
            });
        }
    }
}

/// Accepts batches one after the other while their answers are read.
struct Reader {
    handle: Handle,
    caller: Caller,
    unread: Arc<Semaphore>,
    batches: mpsc::Sender<Result<Batch, Status>>,
}

impl Reader {
    async fn read(self, mut requests: Streaming<ApplyRequest>) {
        let (handle, listener) = (self.handle.clone(), self.batches.clone());
        tokio::select! {
            // First, so that no batch is taken after the rights of the caller have ended. The body of the answer ends with
            // them, too, but it is polled only while the client lets answers through.
            biased;
            () = self.caller.clone().ended() => {}
            () = handle.closing() => {}
            () = listener.closed() => {}
            () = self.take(&mut requests) => {}
        }
    }

    // Ends when the client has no more batches, or after the first batch that cannot be accepted; its error is the last
    // message.
    async fn take(&self, requests: &mut Streaming<ApplyRequest>) {
        loop {
            let batch = match requests.message().await {
                Ok(Some(asked)) => self.begin(asked).await,
                Ok(None) => return,
                Err(broken) => Err(protocol::named(broken)),
            };
            let is_last = batch.is_err();
            // A client that reads no answer for this long is disconnected.
            let sent = self.batches.send_timeout(batch, STALL).await;
            if sent.is_err() || is_last {
                return;
            }
        }
    }

    async fn begin(&self, asked: ApplyRequest) -> Result<Batch, Status> {
        let hidden = Hidden::of(&self.caller, &asked);
        let commands = commands(&self.caller, asked)?;
        self.caller.note_operations(commands.inputs().len());
        let weight = u32::try_from(commands.inputs().len()).unwrap_or(u32::MAX);
        let unread = Arc::clone(&self.unread).acquire_many_owned(weight);
        let unread = tokio::time::timeout(STALL, unread).await.map_err(|_| {
            let seconds = STALL.as_secs();
            Status::aborted(format!("the client read no answer within {seconds} s"))
        })?;
        let replies = self.handle.ask_in_turn(commands).await;
        Ok(Batch {
            replies: replies.map_err(Failure::from)?,
            hidden,
            caller: self.caller.clone(),
            is_answered: false,
            _unread: unread.map_err(|closed| Status::internal(closed.to_string()))?,
        })
    }
}

/// The operations of a batch that credit an account which the caller may not read: their results leave out its balance.
/// Empty for a caller that is not bound to accounts.
struct Hidden(Vec<bool>);

impl Hidden {
    fn of(caller: &Caller, asked: &ApplyRequest) -> Self {
        if !caller.is_bound() {
            return Self(Vec::new());
        }
        let hidden = asked
            .operations
            .iter()
            .map(|operation| match &operation.body {
                Some(Body::Payment(payment)) => !caller.may_touch(&payment.to_account),
                _ => false,
            });
        Self(hidden.collect())
    }

    fn at(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }
}

// Parses the whole batch before any operation is applied, so a malformed batch changes nothing.
fn commands(caller: &Caller, asked: ApplyRequest) -> Result<Commands<Operate>, Failure> {
    let asked = asked.operations;
    if asked.len() > OPERATIONS_MAX {
        let why = format!(
            "{} operations exceed the limit of {OPERATIONS_MAX} per batch",
            asked.len()
        );
        return Err(Failure::malformed("operations", why));
    }
    let asked = asked.into_iter().enumerate();
    asked
        .map(|(index, operation)| command(caller, index, operation))
        .collect()
}

fn results(
    handle: &Handle,
    caller: &Caller,
    hidden: &Hidden,
    answers: impl Iterator<Item = Answer>,
) -> ApplyResponse {
    let mut tally = Tally::default();
    let results = answers.enumerate().map(|(index, answer)| {
        tally.add(&answer);
        let mut shown = result(handle, answer);
        if hidden.at(index) {
            shown.to_balance = None;
        }
        shown
    });
    let response = ApplyResponse {
        results: results.collect(),
    };
    caller.note(tally);
    response
}

fn command(caller: &Caller, index: usize, asked: Asked) -> Result<Operate, Failure> {
    let field = |name: &str| format!("operations[{index}].{name}");
    let account = |name: &str, text: &str| {
        // Allocates the field name only for an error.
        let parsed = AccountId::parse(text);
        parsed.map_err(|why| Failure::malformed(field(name), why))
    };
    let own = |name: &str, text: &str| {
        let account = account(name, text)?;
        caller.check(|| field(name), account.as_str())?;
        Ok::<_, Failure>(account)
    };
    let request = match asked.request_id.as_str() {
        "" => None,
        named => {
            let named = id(&field("request_id"), named, RequestId::parse)?;
            Some(identity::of_operation(caller, &named))
        }
    };
    let operation = match asked.body {
        Some(Body::Deposit(deposit)) => Operation::Deposit {
            account: own("deposit.account", &deposit.account)?,
            amount: deposit.amount,
        },
        Some(Body::Withdrawal(withdrawal)) => Operation::Withdraw {
            account: own("withdrawal.account", &withdrawal.account)?,
            amount: withdrawal.amount,
        },
        Some(Body::Payment(payment)) => Operation::Transfer {
            from_account: own("payment.from_account", &payment.from_account)?,
            to_process: process_or_here(&field("payment.to_process"), &payment.to_process)?,
            to_account: account("payment.to_account", &payment.to_account)?,
            amount: payment.amount,
            is_blind: !caller.may_touch(&payment.to_account),
        },
        None => {
            let why = "none is set; give a deposit, a withdrawal or a payment";
            return Err(Failure::malformed(field("body"), why));
        }
    };
    Ok(Operate { request, operation })
}

fn result(handle: &Handle, answer: Answer) -> OperationResult {
    let journal_position = answer.position.0;
    match answer.outcome {
        Ok(receipt) => OperationResult {
            success: true,
            error: String::new(),
            kind: String::new(),
            balance: receipt.balance,
            to_balance: receipt.to_balance,
            transfer_id: receipt.transfer_id.map(String::from).unwrap_or_default(),
            journal_position,
        },
        Err(refusal) => OperationResult {
            kind: refusal.kind().to_owned(),
            error: told(handle, refusal).to_string(),
            journal_position,
            ..OperationResult::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::snapledger::Deposit;

    #[test]
    fn a_malformed_operation_is_named_by_its_place() {
        let deposit = Deposit {
            account: String::new(),
            amount: 1,
        };
        let asked = Asked {
            request_id: String::new(),
            body: Some(Body::Deposit(deposit)),
        };
        let failure = command(&Caller::default(), 3, asked).expect_err("the account is empty");
        assert!(
            failure
                .to_string()
                .starts_with("operations[3].deposit.account: ")
        );
        let empty = command(&Caller::default(), 0, Asked::default()).expect_err("there is no body");
        assert!(empty.to_string().starts_with("operations[0].body: "));
    }
}
