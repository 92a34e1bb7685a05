//! The process as its node drives it: inputs in, turns and replies out. Without this, a change to the core would show
//! only in a running cluster, if at all.

mod channels;
mod keys;
mod limits;
mod meetings;
mod operations;
mod past;
mod recovery;
mod snapshots;
mod turns;

use snapledger::process::Process;
use snapledger::process::answer::{Answer, Outcome};
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{
    AccountId, Amount, ChannelId, ProcessId, RequestId, Seq, SnapshotId,
};
use snapledger::process::input::{Input, Operation};
use snapledger::process::message::{Body, Marker, Message, Transfer};
use snapledger::process::record::{Record, Turn};
use snapledger::process::reply::Reply;
use snapledger::process::topology::Topology;

fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

fn account(id: &str) -> AccountId {
    AccountId::parse(id).expect("a valid id")
}

fn snapshot(id: &str) -> SnapshotId {
    SnapshotId::parse(id).expect("a valid id")
}

fn request(id: &str) -> RequestId {
    RequestId::parse(id).expect("a valid id")
}

fn amount(units: i64) -> Amount {
    Amount::new(units).expect("positive")
}

/// Channels in both directions between all of them.
fn full(ids: &[&str]) -> Topology {
    let ids: Vec<_> = ids.iter().map(|id| process(id)).collect();
    Topology::full(&ids).expect("distinct ids")
}

/// Channels from each to the next, and from the last to the first.
fn ring(ids: &[&str]) -> Topology {
    let ids: Vec<_> = ids.iter().map(|id| process(id)).collect();
    let channels = ids.iter().zip(ids.iter().cycle().skip(1));
    let channels = channels.map(|(from, to)| ChannelId {
        from: from.clone(),
        to: to.clone(),
    });
    Topology::new(&ids, channels).expect("a ring is strongly connected")
}

fn alone(id: &str, topology: &Topology) -> Process {
    Process::new(process(id), topology.clone(), 8)
}

/// Runs one turn with one input.
fn step(process: &mut Process, input: Input) -> (Reply, Turn) {
    process.begin_turn(1, Hlc::default());
    let reply = process.step(input);
    (reply, process.end_turn())
}

fn operate(process: &mut Process, operation: Operation) -> Outcome {
    let input = Input::Operation {
        request: None,
        operation,
    };
    answer(step(process, input).0).outcome
}

fn answer(reply: Reply) -> Answer {
    let Reply::Operation(answer) = reply else {
        unreachable!("{reply:?}")
    };
    answer
}

fn deposit(id: &str, units: i64) -> Operation {
    Operation::Deposit {
        account: account(id),
        amount: units,
    }
}

fn withdraw(id: &str, units: i64) -> Operation {
    Operation::Withdraw {
        account: account(id),
        amount: units,
    }
}

fn transfer(from: &str, to: (Option<&str>, &str), units: i64) -> Operation {
    Operation::Transfer {
        from_account: account(from),
        to_process: to.0.map(process),
        to_account: account(to.1),
        amount: units,
        is_blind: false,
    }
}

/// A transfer to an account, as a message from another process.
fn money(to_account: &str, units: i64) -> Body {
    Body::from(Transfer {
        transfer_id: "t".into(),
        from_account: account("far"),
        to_account: account(to_account),
        amount: amount(units),
    })
}

fn marker(id: &str, initiator: &str) -> Body {
    Body::from(Marker {
        snapshot: snapshot(id),
        initiator: process(initiator),
    })
}

fn arrived(from: &str, seq: u64, body: Body) -> Input {
    Input::Arrived {
        from: process(from),
        seq: Seq(seq),
        time: Hlc::default(),
        message: Message {
            clock: Lamport(1),
            body,
        },
    }
}

/// Returns what the turn sends on the channel to `to`, as inputs for its process.
fn sent(turn: &Turn, from: &Process, to: &str) -> Vec<Input> {
    let records = turn.records.iter();
    records
        .filter_map(|record| match record {
            Record::Sent {
                to: whom,
                seq,
                message,
            } if whom.as_str() == to => Some(Input::Arrived {
                from: from.id().clone(),
                seq: *seq,
                time: turn.time,
                message: message.clone(),
            }),
            _ => None,
        })
        .collect()
}
