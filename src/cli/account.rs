//! `account`: balances and operations through REST. Amounts are whole minor units, as in the API.

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::cell;
use super::rest::{Answer, RestClient, RestOptions, segment};
use super::{CliError, OutputFormat, Report, print};

/// Balances, deposits, withdrawals and transfers.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The balance of an account now, in whole minor units (cents)
    Balance {
        /// The account.
        account: String,
        /// The process that keeps it [default: the one that answers].
        #[arg(long)]
        process: Option<String>,
        #[command(flatten)]
        rest: RestOptions,
    },
    /// Pay into an account of the process that answers
    Deposit(AccountOperation),
    /// Pay out of an account of the process that answers
    Withdraw(AccountOperation),
    /// Move money to another account, on this process or another
    Transfer {
        /// The account that pays.
        from: String,
        /// The account that receives.
        to: String,
        /// Whole minor units (cents).
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        amount: i64,
        /// The process of the receiving account [default: the one that answers].
        #[arg(long)]
        to_process: Option<String>,
        #[command(flatten)]
        shared: OperationOptions,
    },
}

#[derive(Debug, clap::Args)]
struct AccountOperation {
    /// The account.
    account: String,
    /// Whole minor units (cents).
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    amount: i64,
    #[command(flatten)]
    shared: OperationOptions,
}

#[derive(Debug, clap::Args)]
struct OperationOptions {
    /// Makes a repeat harmless: the same key answers as the first time.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] with the node's refusal, or that it does not answer.
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Balance {
            account,
            process,
            rest,
        } => balance(&account, process.as_deref(), &rest),
        Command::Deposit(operation) => operation.post("deposits"),
        Command::Withdraw(operation) => operation.post("withdrawals"),
        Command::Transfer {
            from,
            to,
            amount,
            to_process,
            shared,
        } => {
            let mut body = json!({"from_account": from, "to_account": to, "amount": amount});
            if let Some(process) = to_process {
                body["to_process"] = Value::String(process);
            }
            shared.post("/v1/transfers", &body, &TRANSFER)
        }
    }
}

const BALANCE: [(&str, &str); 3] = [
    ("process", "/process"),
    ("account", "/account"),
    ("balance", "/balance"),
];

const OPERATION: [(&str, &str); 5] = [
    ("process", "/process"),
    ("account", "/account"),
    ("balance", "/balance"),
    ("position", "/journal_position"),
    ("time", "/time"),
];

const TRANSFER: [(&str, &str); 5] = [
    ("transfer", "/transfer_id"),
    ("balance of payer", "/from_balance"),
    ("balance of receiver", "/to_balance"),
    ("position", "/journal_position"),
    ("time", "/time"),
];

fn balance(account: &str, process: Option<&str>, rest: &RestOptions) -> Result<(), CliError> {
    let account = segment(account);
    let path = match process {
        Some(process) => format!("/v1/processes/{}/accounts/{account}", segment(process)),
        None => format!("/v1/accounts/{account}"),
    };
    show(
        &RestClient::new(&rest.rest)?.get(&path, &[])?,
        rest.output,
        &BALANCE,
    )
}

impl AccountOperation {
    fn post(&self, collection: &str) -> Result<(), CliError> {
        let path = format!("/v1/accounts/{}/{collection}", segment(&self.account));
        self.shared
            .post(&path, &json!({"amount": self.amount}), &OPERATION)
    }
}

impl OperationOptions {
    fn post(&self, path: &str, body: &Value, columns: &[(&str, &str)]) -> Result<(), CliError> {
        let client = RestClient::new(&self.rest.rest)?;
        let answer = client.post(path, body, self.idempotency_key.as_deref())?;
        show(&answer, self.rest.output, columns)
    }
}

fn show(answer: &Answer, output: OutputFormat, columns: &[(&str, &str)]) -> Result<(), CliError> {
    if output == OutputFormat::Json {
        return print(&answer.text);
    }
    let headers: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
    let row = columns
        .iter()
        .map(|(_, field)| cell(answer.json.pointer(field)));
    let mut report = Report::default();
    report.table(&headers, vec![row.collect()]);
    report.print()
}
