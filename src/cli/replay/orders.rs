//! The file of operations: every row checked before any is sent.

use std::collections::BTreeSet;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::amount;
use super::members::Directory;
use crate::cli::CliError;
use crate::process::ids::{AccountId, Amount, ProcessId};

const HEADER: [&str; 6] = [
    "op",
    "process",
    "account",
    "to_process",
    "to_account",
    "amount",
];

/// A row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// From 1 on; the header is line 1.
    pub(super) line: u64,
    /// The process that keeps `account`.
    pub(super) process: ProcessId,
    pub(super) account: AccountId,
    pub(super) amount: Amount,
    pub(super) kind: OrderKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrderKind {
    Deposit,
    Withdraw,
    Transfer {
        /// `None`: the process of the paying account.
        to_process: Option<ProcessId>,
        to_account: AccountId,
    },
}

/// Reads and checks the whole file.
pub(super) fn read(path: &Path) -> Result<Vec<Order>, CliError> {
    let unreadable = |source| CliError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(file);
    let mut orders = Vec::new();
    let mut record = StringRecord::new();
    let mut headed = false;
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let line = error.position().map_or(line, csv::Position::line);
                return Err(match error.into_kind() {
                    csv::ErrorKind::Io(source) => unreadable(source),
                    csv::ErrorKind::Utf8 { .. } => {
                        bad(path, line, "the line is not UTF-8; save the file as UTF-8")
                    }
                    _ => bad(
                        path,
                        line,
                        "the line is no CSV; write six fields parted by commas",
                    ),
                });
            }
        }
        // Blank lines are skipped by the reader; the record knows where it began.
        let line = record.position().map_or(line, csv::Position::line);
        let checked = if headed {
            order(&record, line).map(|order| orders.push(order))
        } else {
            headed = true;
            header(&record)
        };
        checked.map_err(|reason| bad(path, line, &reason))?;
    }
    if headed {
        Ok(orders)
    } else {
        Err(bad(
            path,
            1,
            &format!(
                "the file is empty; its first line has to be {}",
                HEADER.join(",")
            ),
        ))
    }
}

fn bad(path: &Path, line: u64, reason: &str) -> CliError {
    CliError::Line {
        path: path.to_owned(),
        line,
        reason: reason.to_owned(),
    }
}

fn header(record: &StringRecord) -> Result<(), String> {
    if record.iter().eq(HEADER) {
        Ok(())
    } else {
        Err(format!("the first line has to be {}", HEADER.join(",")))
    }
}

fn order(record: &StringRecord, line: u64) -> Result<Order, String> {
    let fields: Vec<&str> = record.iter().collect();
    let [op, process, account, to_process, to_account, amount] = fields[..] else {
        return Err(format!(
            "the line has {} fields; write six: {}",
            fields.len(),
            HEADER.join(",")
        ));
    };
    let malformed = |field: &str, error: &dyn std::fmt::Display| format!("{field}: {error}");
    let process_id = |field, text| ProcessId::parse(text).map_err(|e| malformed(field, &e));
    let account_id = |field, text| AccountId::parse(text).map_err(|e| malformed(field, &e));
    let process = process_id("process", process)?;
    let kind = match op {
        "deposit" | "withdraw" => {
            if !to_process.is_empty() || !to_account.is_empty() {
                return Err(format!(
                    "a {op} has no receiver; leave to_process and to_account empty"
                ));
            }
            if op == "deposit" {
                OrderKind::Deposit
            } else {
                OrderKind::Withdraw
            }
        }
        "transfer" => OrderKind::Transfer {
            to_process: match to_process {
                "" => None,
                other => Some(process_id("to_process", other)?).filter(|other| *other != process),
            },
            to_account: account_id("to_account", to_account)?,
        },
        other => {
            return Err(format!(
                "op: `{other}` is no operation; write deposit, withdraw or transfer"
            ));
        }
    };
    Ok(Order {
        line,
        account: account_id("account", account)?,
        amount: amount::parse(amount).map_err(|e| format!("amount: `{amount}` {e}"))?,
        process,
        kind,
    })
}

/// Every process the file names is in the cluster.
pub(super) fn check_processes(
    path: &Path,
    orders: &[Order],
    directory: &Directory,
) -> Result<(), CliError> {
    let mut seen: BTreeSet<&ProcessId> = BTreeSet::new();
    for order in orders {
        let receiver = match &order.kind {
            OrderKind::Transfer { to_process, .. } => to_process.as_ref(),
            OrderKind::Deposit | OrderKind::Withdraw => None,
        };
        for process in std::iter::once(&order.process).chain(receiver) {
            if seen.insert(process) && !directory.contains(process) {
                let members = directory.names();
                return Err(bad(
                    path,
                    order.line,
                    &format!("process {process} is not in the cluster, which has {members}"),
                ));
            }
        }
    }
    Ok(())
}

/// The deposits the file begins with, and what follows them.
pub(super) fn split_leading_deposits(mut orders: Vec<Order>) -> (Vec<Order>, Vec<Order>) {
    let leading = orders
        .iter()
        .take_while(|order| order.kind == OrderKind::Deposit)
        .count();
    let rest = orders.split_off(leading);
    (orders, rest)
}

#[cfg(test)]
#[path = "orders_tests.rs"]
mod tests;
