//! The result of a verification as JSON. Sums may exceed 64 bits, so they are serialized from their own types.

use std::collections::BTreeMap;

use serde::Serialize;

use super::archived::Journals;
use crate::history::global::GlobalState;
use crate::history::part::{Part, RecordedChannel};
use crate::history::verify::Check;
use crate::process::ids::{Hash, Lsn};
use crate::store::{Export, GlobalStateAudit};

#[derive(Serialize)]
struct Verified<'a> {
    snapshot_id: &'a str,
    cluster: &'a str,
    root: String,
    /// Whether an expected root was given.
    root_was_given: bool,
    /// Null if no root was given.
    root_matches: Option<bool>,
    status: &'a str,
    revision: u32,
    verified: bool,
    wrong: Vec<Wrong<'a>>,
    figures_compared: u64,
    chunks: u64,
    processes: Vec<Process<'a>>,
    channels: Vec<Channel<'a>>,
    totals: Totals,
    verification: Certificate<'a>,
    not_checked: Vec<String>,
}

#[derive(Serialize)]
struct Wrong<'a> {
    figure: &'a str,
    stated: &'a str,
    recomputed: &'a str,
}

#[derive(Serialize)]
struct Process<'a> {
    process: &'a str,
    accounts: u64,
    balance_total: i128,
    journal_position: u64,
    journal_hash: String,
}

#[derive(Serialize)]
struct Channel<'a> {
    from: &'a str,
    to: &'a str,
    messages: u64,
    transfers: u64,
    amount: i128,
}

#[derive(Serialize)]
struct Totals {
    balances: i128,
    in_flight: i128,
    /// Null if a process that another program hosts does not report its own.
    deposits: Option<i128>,
    withdrawals: Option<i128>,
}

#[derive(Serialize)]
struct Certificate<'a> {
    conserved: Option<bool>,
    consistent_cut: Option<bool>,
    checks: Vec<Checked<'a>>,
}

#[derive(Serialize)]
struct Checked<'a> {
    check: &'a str,
    subject: &'a str,
    holds: bool,
    figures: BTreeMap<&'a str, i128>,
}

/// The whole document.
pub(super) fn json(
    export: &Export,
    audit: &GlobalStateAudit,
    journals: &Journals,
    expected: Option<Hash>,
) -> String {
    let state = &audit.recomputed;
    let totals = state.totals();
    let is_stated = state.unstated().next().is_none();
    let channels = state
        .parts
        .values()
        .flat_map(|part| part.channels.iter().map(move |one| channel(part, one)));
    let wrong = audit.wrong.iter().map(|wrong| Wrong {
        figure: &wrong.figure,
        stated: &wrong.stated,
        recomputed: &wrong.recomputed,
    });
    let verified = Verified {
        snapshot_id: state.snapshot.as_str(),
        cluster: export.cluster(),
        root: export.published().root.to_string(),
        root_was_given: expected.is_some(),
        root_matches: expected.map(|expected| expected == export.published().root),
        status: state.status(),
        revision: state.revision,
        verified: audit.wrong.is_empty(),
        wrong: wrong.collect(),
        figures_compared: audit.compared,
        chunks: export.chunks(),
        processes: state.parts.values().map(process).collect(),
        channels: channels.collect(),
        totals: Totals {
            balances: totals.balances,
            in_flight: totals.in_flight,
            deposits: is_stated.then_some(totals.deposits),
            withdrawals: is_stated.then_some(totals.withdrawals),
        },
        verification: Certificate {
            conserved: audit.verification.conserved,
            consistent_cut: audit.verification.consistent_cut,
            checks: audit.verification.checks.iter().map(checked).collect(),
        },
        not_checked: unchecked(state, journals),
    };
    serde_json::to_string_pretty(&verified).expect("names and numbers are always JSON")
}

fn process(part: &Part) -> Process<'_> {
    Process {
        process: part.process.as_str(),
        accounts: part.state.accounts,
        balance_total: part.state.balance_total,
        journal_position: part.state.position.0,
        journal_hash: part.state.journal.to_string(),
    }
}

fn channel<'a>(part: &'a Part, channel: &'a RecordedChannel) -> Channel<'a> {
    Channel {
        from: channel.from.as_str(),
        to: part.process.as_str(),
        messages: channel.messages(),
        transfers: channel.transfers,
        amount: channel.amount,
    }
}

fn checked(check: &Check) -> Checked<'_> {
    Checked {
        check: check.check,
        subject: &check.subject,
        holds: check.holds,
        figures: check.figures.iter().copied().collect(),
    }
}

/// What an export cannot show even if it is whole.
///
/// `journals`: what the archived journal of each process says, or why it was not compared.
pub(super) fn unchecked(state: &GlobalState, journals: &Journals) -> Vec<String> {
    let mut unchecked: Vec<String> = Vec::new();
    let mut is_proven = true;
    for part in state.parts.values() {
        let (process, recorded) = (&part.process, &part.state);
        let (position, journal) = (recorded.position, recorded.journal);
        if !recorded.has_journal() {
            unchecked.push(format!(
                "the figures of {process}: it is hosted by another program and has no journal"
            ));
            continue;
        }
        let why = match journals.get(process) {
            Some(Ok(share)) if share.begins == Lsn(0) => continue,
            Some(Ok(share)) => {
                let begins = share.begins;
                is_proven = false;
                unchecked.push(format!(
                    "the journal of {process} up to turn {begins}, with whose recorded state the archived journal begins"
                ));
                continue;
            }
            Some(Err(why)) => why.to_string(),
            None => "check its store with `snapledger store check`".to_owned(),
        };
        is_proven = false;
        unchecked.push(format!(
            "the journal of {process} up to entry {position} with the hash {journal}: {why}"
        ));
    }
    if !is_proven {
        unchecked.push(
            "the sums of deposits, withdrawals and transfers: they are compared with each other and with the recorded \
             states, but only the journals prove them"
                .to_owned(),
        );
    }
    unchecked.push("when the states were recorded, and the name of the cluster".to_owned());
    for missing in state.missing() {
        let process = &missing.process;
        unchecked.push(format!("the state of process {process}, which is missing"));
    }
    unchecked
}
