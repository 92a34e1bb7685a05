//! The certificate: all comparisons that show that no money was lost, with their figures.

use super::global::{Counted, GlobalState, Totals};
use super::part::{Part, RecordedChannel};
use crate::process::channel::Flow;
use crate::process::ids::{ChannelId, ProcessId};

/// The result of verifying a global state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Whether balances plus money in flight equal deposits minus withdrawals and every other check holds; `None` if a part is
    /// missing, or is of a foreign process that does not report deposits and withdrawals.
    pub conserved: Option<bool>,
    /// Whether no channel delivered more than was sent: false if one did, `None` if a channel was not comparable or there is
    /// none.
    pub consistent_cut: Option<bool>,
    /// All comparisons.
    pub checks: Vec<Check>,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The name of the check: `consistent_cut`, `channel_state`, `chunks`, `recorded_messages`, `journal_chain`,
    /// `conservation`.
    pub check: &'static str,
    /// The channel as `from→to`, the process, or the whole cluster.
    pub subject: String,
    /// Whether it holds.
    pub holds: bool,
    /// The figures with their names; sums in minor units.
    pub figures: Vec<(&'static str, i128)>,
}

const CHANNEL_STATE: &str = "channel_state";

/// Makes all possible comparisons in a global state.
#[must_use]
pub fn verify(global: &GlobalState) -> Verification {
    let mut checks = Vec::new();
    for (to, receiver) in &global.parts {
        for (from, delivered) in &receiver.state.delivered {
            let sender = global.parts.get(from);
            if let Some(sender) = sender.filter(|sender| sender.state.has_figures()) {
                let sent = sender.state.sent.get(to).copied().unwrap_or_default();
                let mut of_channel = compare_channel(from, to, sent, *delivered, receiver);
                if !(sender.state.has_journal() && receiver.state.has_journal()) {
                    of_channel.iter_mut().for_each(without_sequence);
                }
                checks.extend(of_channel);
            }
        }
    }
    let compared = (!checks.is_empty()).then(|| checks.iter().all(|check| check.holds));
    let is_comparable = global.is_complete() && global.unstated().next().is_none();
    let consistent = compared.filter(|holds| is_comparable || !holds);
    for (process, part) in &global.parts {
        if let Some(counted) = global.counted.get(process) {
            checks.extend(contents(part, counted));
        }
    }
    let conserved = is_comparable.then(|| {
        checks.push(conservation(&global.totals()));
        checks.iter().all(|check| check.holds)
    });
    Verification {
        conserved,
        consistent_cut: consistent,
        checks,
    }
}

fn compare_channel(
    from: &ProcessId,
    to: &ProcessId,
    sent: Flow,
    delivered: Flow,
    receiver: &Part,
) -> Vec<Check> {
    let channel = ChannelId {
        from: from.clone(),
        to: to.clone(),
    };
    let mut checks = vec![consistent_cut(&channel, sent, delivered)];
    let subject = channel.to_string();
    let recorded = receiver
        .channels
        .iter()
        .find(|channel| channel.from == *from);
    checks.extend(recorded.map(|recorded| channel_state(subject, sent, delivered, recorded)));
    checks
}

// A foreign process reports money and does not number its messages.
fn without_sequence(check: &mut Check) {
    let is_state = check.check == CHANNEL_STATE;
    check.figures.drain(..if is_state { 4 } else { 2 });
    let holds = |pair: &[(_, i128)]| match is_state {
        true => pair[0].1 == pair[1].1,
        false => pair[0].1 >= pair[1].1,
    };
    check.holds = check.figures.chunks(2).all(holds);
}

/// Checks that a channel did not deliver more than was sent.
pub(super) fn consistent_cut(channel: &ChannelId, sent: Flow, delivered: Flow) -> Check {
    Check {
        check: "consistent_cut",
        subject: channel.to_string(),
        holds: delivered.sequence <= sent.sequence
            && delivered.transfers <= sent.transfers
            && delivered.amount <= sent.amount,
        figures: vec![
            ("sent", i128::from(sent.sequence.0)),
            ("delivered", i128::from(delivered.sequence.0)),
            ("sent_transfers", i128::from(sent.transfers)),
            ("delivered_transfers", i128::from(delivered.transfers)),
            ("sent_amount", sent.amount),
            ("delivered_amount", delivered.amount),
        ],
    }
}

// Checks that the recorded messages are exactly the difference between what was sent and what was delivered.
fn channel_state(
    subject: String,
    sent: Flow,
    delivered: Flow,
    recorded: &RecordedChannel,
) -> Check {
    let sequence = |flow: Flow| i128::from(flow.sequence.0);
    let transfers = i128::from(sent.transfers) - i128::from(delivered.transfers);
    let figures = vec![
        ("first_expected", sequence(delivered) + 1),
        ("first_recorded", i128::from(recorded.first.0)),
        ("last_expected", sequence(sent)),
        ("last_recorded", i128::from(recorded.last.0)),
        ("transfers_expected", transfers),
        ("transfers_recorded", i128::from(recorded.transfers)),
        ("amount_expected", sent.amount - delivered.amount),
        ("amount_recorded", recorded.amount),
    ];
    Check {
        check: CHANNEL_STATE,
        subject,
        holds: figures.chunks(2).all(|pair| pair[0].1 == pair[1].1),
        figures,
    }
}

// Compares the stored contents with the figures in the part.
fn contents(part: &Part, counted: &Counted) -> Vec<Check> {
    let channels = &part.channels;
    let messages: u64 = channels.iter().map(RecordedChannel::messages).sum();
    let transfers: u64 = channels.iter().map(|channel| channel.transfers).sum();
    let figures = [
        (
            "chunks",
            vec![
                ("chunks_named", i128::from(counted.chunks_named)),
                ("chunks_held", i128::from(counted.chunks_held)),
            ],
        ),
        (
            "recorded_messages",
            vec![
                ("messages_recorded", i128::from(messages)),
                ("messages_counted", i128::from(counted.messages)),
                ("transfers_recorded", i128::from(transfers)),
                ("transfers_counted", i128::from(counted.transfers)),
                (
                    "amount_recorded",
                    channels.iter().map(|channel| channel.amount).sum(),
                ),
                ("amount_counted", counted.amount),
            ],
        ),
    ];
    let pairs = |figures: &[(_, i128)]| figures.chunks(2).all(|pair| pair[0].1 == pair[1].1);
    let compared = figures.into_iter().map(|(check, figures)| Check {
        check,
        subject: part.process.to_string(),
        holds: pairs(&figures),
        figures,
    });
    let chained = counted.is_chained.map(|is_chained| Check {
        check: "journal_chain",
        subject: part.process.to_string(),
        holds: is_chained,
        figures: vec![("journal_position", i128::from(part.state.position.0))],
    });
    compared.chain(chained).collect()
}

/// Checks that the money held and in flight equals deposits minus withdrawals.
pub(super) fn conservation(totals: &Totals) -> Check {
    let held = totals.balances + totals.in_flight;
    let paid_in = totals.deposits - totals.withdrawals;
    Check {
        check: "conservation",
        subject: "cluster".to_owned(),
        holds: held == paid_in,
        figures: vec![
            ("balances", totals.balances),
            ("in_flight", totals.in_flight),
            ("deposits", totals.deposits),
            ("withdrawals", totals.withdrawals),
            ("held", held),
            ("paid_in", paid_in),
        ],
    }
}
