//! Operations: deposits, withdrawals, transfers. A repeat with the same `Idempotency-Key` gets the first answer.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::AppState;
use super::body::{Body, Field, Kind, Segments, Shape, Units};
use super::json::Json;
use super::negotiation::Plain;
use crate::access::caller::Caller;
use crate::api::error::{Failure, id};
use crate::api::identity;
use crate::api::refused::told;
use crate::api::time::rfc3339;
use crate::cluster::local_query;
use crate::process::answer::{Answer, Receipt};
use crate::process::ids::{AccountId, ProcessId, RequestId};
use crate::process::input::Operation;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paid {
    amount: Units,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moved {
    from_account: String,
    to_account: String,
    amount: Units,
    to_process: Option<String>,
}

impl Shape for Paid {
    const EXAMPLE: &'static str = r#"{"amount": 1000}"#;
    const FIELDS: &'static [Field] = &[Field::required("amount", Kind::Units)];
}

impl Shape for Moved {
    const EXAMPLE: &'static str =
        r#"{"from_account": "alice", "to_process": "n2", "to_account": "bob", "amount": 250}"#;
    const FIELDS: &'static [Field] = &[
        Field::required("from_account", Kind::Text),
        Field::optional("to_process", Kind::Text),
        Field::required("to_account", Kind::Text),
        Field::required("amount", Kind::Units),
    ];
}

#[derive(Serialize)]
struct Booked<'a> {
    process: &'a str,
    account: &'a str,
    balance: i64,
    journal_position: u64,
    time: String,
}

#[derive(Serialize)]
struct Transferred {
    transfer_id: Option<Box<str>>,
    from_balance: i64,
    to_balance: Option<i64>,
    journal_position: u64,
    time: String,
}

/// A call with side effects: answered in JSON, and idempotent with a key.
pub(super) struct Call {
    app: AppState,
    key: Option<RequestId>,
    caller: Caller,
}

impl FromRequestParts<AppState> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Failure> {
        Plain::from_request_parts(parts, app).await?;
        let caller = Caller::of(&parts.extensions);
        Ok(Self {
            app: app.clone(),
            key: identity::key_of(&caller, &parts.headers)?,
            caller,
        })
    }
}

impl Call {
    // The receipt, and the answer of the turn; a repeat gets those of the first call.
    async fn perform(&self, operation: Operation) -> Result<(Receipt, Answer), Failure> {
        let answer = local_query::operate(&self.app.handle, self.key.clone(), operation).await?;
        self.caller.note_answer(&answer);
        let outcome = answer.outcome.clone();
        let receipt = outcome.map_err(|refusal| told(&self.app.handle, refusal))?;
        Ok((receipt, answer))
    }
}

/// `POST /v1/accounts/{account}/deposits`
pub(super) async fn deposit(
    call: Call,
    Segments(account): Segments<String>,
    Body(paid): Body<Paid>,
) -> Result<Response, Failure> {
    let account = id("account", &account, AccountId::parse)?;
    let operation = Operation::Deposit {
        account: account.clone(),
        amount: paid.amount.0,
    };
    book(call, account, operation).await
}

/// `POST /v1/accounts/{account}/withdrawals`
pub(super) async fn withdraw(
    call: Call,
    Segments(account): Segments<String>,
    Body(paid): Body<Paid>,
) -> Result<Response, Failure> {
    let account = id("account", &account, AccountId::parse)?;
    let operation = Operation::Withdraw {
        account: account.clone(),
        amount: paid.amount.0,
    };
    book(call, account, operation).await
}

async fn book(call: Call, account: AccountId, operation: Operation) -> Result<Response, Failure> {
    let (receipt, answered) = call.perform(operation).await?;
    Ok(uncached(Booked {
        process: call.app.handle.config().me.as_str(),
        account: account.as_str(),
        balance: receipt.balance,
        journal_position: answered.position.0,
        time: rfc3339(answered.time.wall_us()),
    }))
}

/// `POST /v1/transfers`
pub(super) async fn transfer(call: Call, Body(moved): Body<Moved>) -> Result<Response, Failure> {
    let from_account = id("from_account", &moved.from_account, AccountId::parse)?;
    call.caller
        .check(|| "from_account".to_owned(), from_account.as_str())?;
    let sees_other = call.caller.may_touch(&moved.to_account);
    let to_process = moved.to_process.as_deref();
    let operation = Operation::Transfer {
        from_account,
        to_process: to_process
            .map(|text| id("to_process", text, ProcessId::parse))
            .transpose()?,
        to_account: id("to_account", &moved.to_account, AccountId::parse)?,
        amount: moved.amount.0,
        is_blind: !sees_other,
    };
    let (receipt, answered) = call.perform(operation).await?;
    Ok(uncached(Transferred {
        transfer_id: receipt.transfer_id,
        from_balance: receipt.balance,
        // Not the balance of an account that the caller may not read.
        to_balance: receipt.to_balance.filter(|_| sees_other),
        journal_position: answered.position.0,
        time: rfc3339(answered.time.wall_us()),
    }))
}

fn uncached(shown: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response()
}
