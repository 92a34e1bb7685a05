//! `account`: balances, statements and operations through REST. Amounts are whole minor units, as in the API.

use clap::Subcommand;
use serde_json::{Value, json};

use super::instant::{INSTANT, at};
use super::output::cell;
use super::rest::{RestAnswer, RestOptions, given, segment};
use super::{CliError, OutputFormat, Report, print};

/// Balances, statements, deposits, withdrawals and transfers.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The balance of an account now, at an instant or in a snapshot, in whole minor units (cents)
    Balance(BalanceArgs),
    /// The statement of an account: every operation with the balance after it, and the snapshots between
    History(HistoryArgs),
    /// Pay into an account
    Deposit(AccountOperation),
    /// Pay out of an account
    Withdraw(AccountOperation),
    /// Move money to another account, on this process or another
    Transfer {
        /// The account that pays.
        from: String,
        /// The account that receives.
        to: String,
        /// Whole minor units (cents).
        #[arg(allow_negative_numbers = true, value_parser = amount)]
        amount: i64,
        /// The process of the receiving account [default: the process of the paying account].
        #[arg(long)]
        to_process: Option<String>,
        #[command(flatten)]
        shared: OperationOptions,
    },
}

/// The account to query.
#[derive(Debug, clap::Args)]
struct AccountArg {
    /// The account.
    account: String,
    /// The process that keeps the account [default: the process of the queried node].
    #[arg(long)]
    process: Option<String>,
}

#[derive(Debug, clap::Args)]
struct BalanceArgs {
    #[command(flatten)]
    account: AccountArg,
    /// The balance at this instant, for example 2026-01-31T12:00:00Z or -5m.
    #[arg(long, value_name = INSTANT, conflicts_with = "snapshot", allow_hyphen_values = true, value_parser = at)]
    at: Option<String>,
    /// The balance recorded by this snapshot, or by `latest`.
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// The balance recorded by this revision of the snapshot [default: the newest].
    #[arg(long, value_name = "N", requires = "snapshot")]
    revision: Option<u32>,
    #[command(flatten)]
    rest: RestOptions,
}

#[derive(Debug, clap::Args)]
struct HistoryArgs {
    #[command(flatten)]
    account: AccountArg,
    /// From this instant on, for example 2026-01-31T12:00:00Z or -5m.
    #[arg(long, value_name = INSTANT, allow_hyphen_values = true, value_parser = at)]
    from: Option<String>,
    /// Before this instant.
    #[arg(long, value_name = INSTANT, allow_hyphen_values = true, value_parser = at)]
    to: Option<String>,
    /// Sort order.
    #[arg(long, default_value = "newest", value_parser = ["newest", "oldest"])]
    order: String,
    /// Page size, at most 1000 [default: 50].
    #[arg(long)]
    limit: Option<u16>,
    /// Cursor of the previous page.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

#[derive(Debug, clap::Args)]
struct AccountOperation {
    /// The account.
    account: String,
    /// Whole minor units (cents).
    #[arg(allow_negative_numbers = true, value_parser = amount)]
    amount: i64,
    #[command(flatten)]
    shared: OperationOptions,
}

#[derive(Debug, clap::Args)]
struct OperationOptions {
    /// The process that keeps the account; the queried node resolves its address [default: the process of that node].
    #[arg(long)]
    process: Option<String>,
    /// Idempotency key: a retry with the same key returns the first result.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

/// An amount in minor units, at least 1, as the API takes it.
fn amount(text: &str) -> Result<i64, String> {
    let positive = text.parse().ok().filter(|units| *units >= 1);
    positive.ok_or_else(|| {
        "amounts are whole minor units (cents), at least 1; 1050 is ten and a half".to_owned()
    })
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: the node refuses or does not answer.
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Balance(args) => balance(&args),
        Command::History(args) => history(&args),
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

const BALANCE_THEN: [(&str, &str); 9] = [
    ("process", "/process"),
    ("account", "/account"),
    ("balance", "/balance"),
    ("existed", "/existed"),
    ("at", "/at"),
    ("snapshot", "/snapshot"),
    ("position", "/journal_position"),
    ("complete", "/complete"),
    ("known until", "/known_until"),
];

const ENTRY: [(&str, &str); 7] = [
    ("time", "/time"),
    ("op", "/op"),
    ("amount", "/amount"),
    ("balance", "/balance_after"),
    ("with", "/counterparty"),
    ("on", "/counterparty_process"),
    ("transfer", "/transfer_id"),
];

const SNAPSHOT: [(&str, &str); 4] = [
    ("snapshot", "/snapshot_id"),
    ("time", "/time"),
    ("balance", "/balance"),
    ("position", "/journal_position"),
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

impl AccountArg {
    fn path(&self) -> String {
        let account = segment(&self.account);
        match &self.process {
            Some(process) => format!("/v1/processes/{}/accounts/{account}", segment(process)),
            None => format!("/v1/accounts/{account}"),
        }
    }
}

fn balance(args: &BalanceArgs) -> Result<(), CliError> {
    let path = args.account.path();
    if args.at.is_none() && args.snapshot.is_none() {
        let answer = args.rest.client()?.get(&path, &[])?;
        return show(&answer, args.rest.output, &BALANCE);
    }
    let revision = args.revision.map(|revision| revision.to_string());
    let then = [
        ("at", &args.at),
        ("snapshot", &args.snapshot),
        ("revision", &revision),
    ];
    let client = args.rest.patient_client()?;
    let answer = client.get(&format!("{path}/balance"), &given(&then))?;
    show(&answer, args.rest.output, &BALANCE_THEN)?;
    match args.rest.output {
        OutputFormat::Table if answer.json["complete"] == false => uncertain(&answer.json),
        _ => Ok(()),
    }
}

/// Prints what is missing. Without it, a balance from an older snapshot looks as certain as one from the process
/// itself.
fn uncertain(balance: &Value) -> Result<(), CliError> {
    let field = |name: &str| cell(balance.get(name));
    let (process, until) = (field("process"), field("known_until"));
    print(&format!(
        "complete: no; missing: process {process}, known until {until} from snapshot {}",
        field("snapshot")
    ))?;
    let doubt = format!(
        "process {process} is unreachable; the balance is as of {until}, and the operations on the account from then \
         to {} are unknown",
        field("at")
    );
    OutputFormat::Table.remark("warning", &doubt);
    Ok(())
}

fn history(args: &HistoryArgs) -> Result<(), CliError> {
    let limit = args.limit.map(|limit| limit.to_string());
    let order = Some(args.order.clone());
    let query = [
        ("from", &args.from),
        ("to", &args.to),
        ("order", &order),
        ("limit", &limit),
        ("cursor", &args.cursor),
    ];
    let path = format!("{}/history", args.account.path());
    let answer = args.rest.patient_client()?.get(&path, &given(&query))?;
    if args.rest.output == OutputFormat::Json {
        return print(&answer.text);
    }
    let page = &answer.json;
    let mut report = Report::default();
    report.list(&page["entries"], &ENTRY);
    let snapshots = page["snapshots"].as_array();
    if snapshots.is_some_and(|snapshots| !snapshots.is_empty()) {
        report.line("\nsnapshots");
        report.list(&page["snapshots"], &SNAPSHOT);
    }
    if page["snapshots_left_out"] == true {
        report.line("not all snapshots between these entries are shown");
    }
    if let Some(cursor) = page["next_cursor"].as_str() {
        report.line(&format!("more with the same command and --cursor {cursor}"));
    }
    if let Some(since) = page["kept_since"].as_str() {
        report.line(&format!("the process has no entries before {since}"));
    }
    report.print()
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
        let mut client = self.rest.client()?;
        if let Some(process) = &self.process {
            client = client.of_process(process)?;
        }
        let answer = client.post(path, body, self.idempotency_key.as_deref());
        let answer = answer.map_err(unknown_outcome)?;
        show(&answer, self.rest.output, columns)
    }
}

/// A request that was sent and not answered may have been executed.
fn unknown_outcome(error: CliError) -> CliError {
    match error {
        CliError::Silent {
            address,
            what,
            timeout,
            option,
        } => CliError::Silent {
            what: format!("the outcome of the operation is unknown: {what}"),
            address,
            timeout,
            option,
        },
        other => other,
    }
}

fn show(
    answer: &RestAnswer,
    output: OutputFormat,
    columns: &[(&str, &str)],
) -> Result<(), CliError> {
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
