//! The file of operations. Every row is checked before any is sent.

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

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// The line number, from 1; the header is line 1.
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
    let bytes = std::fs::read(path).map_err(|source| CliError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    parse(bytes).map_err(|(line, reason)| bad(path, line, &reason))
}

/// The rows, or the first bad line and the reason.
fn parse(bytes: &[u8]) -> Result<Vec<Order>, (u64, String)> {
    let mut lines = Lines::of(bytes);
    if let Err(error) = std::str::from_utf8(bytes) {
        let line = lines.at(error.valid_up_to());
        return Err((
            line,
            "the line is not UTF-8; save the file as UTF-8".to_owned(),
        ));
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut orders = Vec::new();
    let mut headed = false;
    for record in reader.records() {
        let record =
            record.map_err(|error| (lines.line, format!("the line is not valid CSV: {error}")))?;
        let line = lines.of_record(&record);
        let checked = if headed {
            order(&record, line).map(|order| orders.push(order))
        } else {
            headed = true;
            header(&record)
        };
        checked.map_err(|reason| (line, reason))?;
    }
    if headed {
        Ok(orders)
    } else {
        let header = HEADER.join(",");
        Err((
            1,
            format!("the file is empty; its first line has to be {header}"),
        ))
    }
}

/// Counts lines by `\n`. The line numbers of the CSV reader are wrong after blank lines and with `\r\n`.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            counted: 0,
            line: 1,
        }
    }

    /// The line of the byte at `offset`. Offsets must not decrease between calls.
    fn at(&mut self, offset: usize) -> u64 {
        let passed = self.bytes.get(self.counted..offset).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.counted = self.counted.max(offset);
        self.line
    }

    /// The line where the text of the record begins, after line ends that the reader skipped.
    fn of_record(&mut self, record: &StringRecord) -> u64 {
        let start = record.position().map_or(0, csv::Position::byte);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let rest = self.bytes.get(start..).unwrap_or_default();
        let skipped = rest
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        self.at(start.saturating_add(skipped))
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
                "op: `{other}` is not a valid operation; write deposit, withdraw or transfer"
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

/// Checks that the cluster has every process named in the file.
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

/// Splits the leading deposits from the rest.
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
