//! Random turns through their stored form and back. A field converted to the wrong field, or a variant decoded as its
//! neighbour, would change the past at the next restart.

use std::fmt::Debug;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::Frozen;
use super::stretch::{StretchV1, TouchesV1};
use super::turn::{TurnHeadV1, TurnV1};
use crate::process::answer::{Excess, Outcome, Receipt};
use crate::process::clock::{Hlc, Lamport};
use crate::process::decision::{Actor, Change, Decision};
use crate::process::identity::Identity;
use crate::process::ids::{
    AccountId, Amount, ChannelId, Hash, Key, Lsn, Malformed, ProcessId, RequestId, Seq, SnapshotId,
};
use crate::process::message::Way;
use crate::process::message::{Body, Marker, Message, Stamp, Transfer, Write};
use crate::process::record::{Record, Turn};
use crate::process::refusal::{Diverged, OtherRun, OtherStore, Refusal};
use crate::process::start::{Start, StartedBy};
use crate::store::account_index::{Segment, Touches};
use crate::store::stored::frame;

fn id<T: Debug>(parse: fn(&str) -> Result<T, Malformed>) -> impl Strategy<Value = T> {
    "[a-z/é🦀]{1,12}".prop_map(move |text| parse(&text).expect("short and printable"))
}

fn account() -> impl Strategy<Value = AccountId> {
    id(AccountId::parse)
}

fn process() -> impl Strategy<Value = ProcessId> {
    id(ProcessId::parse)
}

fn amount() -> impl Strategy<Value = Amount> {
    (1..=i64::MAX).prop_map(|units| Amount::new(units).expect("positive"))
}

fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

fn text() -> impl Strategy<Value = Box<str>> {
    any::<String>().prop_map(String::into_boxed_str)
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Native), Just(Way::Unary)]
}

fn write() -> impl Strategy<Value = Write> {
    (id(Key::parse), option::of(text()), any::<u64>(), process()).prop_map(
        |(key, value, clock, process)| Write {
            key,
            value,
            stamp: Stamp {
                clock: Lamport(clock),
                process,
            },
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let transfer = (text(), account(), account(), amount()).prop_map(
        |(transfer_id, from_account, to_account, amount)| {
            Body::from(Transfer {
                transfer_id,
                from_account,
                to_account,
                amount,
            })
        },
    );
    let marker = (id(SnapshotId::parse), process()).prop_map(|(snapshot, initiator)| {
        Body::from(Marker {
            snapshot,
            initiator,
        })
    });
    let body = prop_oneof![transfer, write().prop_map(Body::from), marker];
    (any::<u64>(), body).prop_map(|(clock, body)| Message {
        clock: Lamport(clock),
        body,
    })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let of_bank = prop_oneof![
        any::<i64>().prop_map(Refusal::Amount),
        account().prop_map(Refusal::UnknownAccount),
        (account(), any::<i64>(), any::<i64>()).prop_map(|(account, balance, amount)| {
            Refusal::InsufficientFunds {
                account,
                balance,
                amount,
            }
        }),
        account().prop_map(Refusal::Overflow),
        any::<u64>().prop_map(Refusal::ValueTooLong),
        id(RequestId::parse).prop_map(Refusal::RequestReused),
        any::<u64>().prop_map(Refusal::TooManySnapshots),
        any::<u64>().prop_map(Refusal::TooManyAccounts),
        any::<u64>().prop_map(Refusal::TooManyKeys),
        any::<u64>().prop_map(Refusal::TooManyValueBytes),
    ];
    let of_channels = prop_oneof![
        process().prop_map(Refusal::UnknownProcess),
        (process(), process())
            .prop_map(|(from, to)| Refusal::NoChannel(Box::new(ChannelId { from, to }))),
        (process(), seq(), seq()).prop_map(|(from, expected, arrived)| Refusal::Gap {
            from,
            expected,
            arrived
        }),
        (process(), way(), way()).prop_map(|(from, used, asked)| Refusal::OtherWay {
            from,
            used,
            asked
        }),
        (process(), text(), text()).prop_map(|(peer, store, known)| OtherStore {
            peer,
            store,
            known
        }
        .into()),
        (process(), any::<[u64; 3]>()).prop_map(|(peer, [boot, run, known])| OtherRun {
            peer,
            boot,
            run,
            known
        }
        .into()),
        (process(), text()).prop_map(|(peer, store)| Refusal::GivenUp { peer, store }),
        (process(), any::<u64>(), any::<u64>())
            .prop_map(|(peer, boot, known)| Refusal::OlderBoot { peer, boot, known }),
        (process(), process(), process(), text()).prop_map(|(from, to, lost_by, figures)| {
            Diverged {
                from,
                to,
                lost_by,
                figures,
            }
            .into()
        }),
    ];
    prop_oneof![of_bank, of_channels]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let receipt = (any::<i64>(), option::of(any::<i64>()), option::of(text())).prop_map(
        |(balance, to_balance, transfer_id)| Receipt {
            balance,
            to_balance,
            transfer_id,
        },
    );
    prop_oneof![receipt.prop_map(Ok), refusal().prop_map(Err)]
}

fn of_accounts() -> impl Strategy<Value = Record> {
    prop_oneof![
        (account(), amount()).prop_map(|(account, amount)| Record::Deposited { account, amount }),
        (account(), amount()).prop_map(|(account, amount)| Record::Withdrawn { account, amount }),
        (account(), account(), account(), amount()).prop_map(|(from, to, suspense, amount)| {
            Record::MovedToSuspense {
                from,
                to,
                suspense: Box::new(suspense),
                amount,
            }
        }),
        (account(), account(), amount()).prop_map(|(from, to, amount)| Record::Moved {
            from,
            to,
            amount
        }),
        write().prop_map(|write| Record::Written(Arc::new(write))),
        (id(RequestId::parse), any::<u64>(), outcome()).prop_map(
            |(request, fingerprint, outcome)| Record::Answered {
                request,
                fingerprint,
                outcome
            }
        ),
    ]
}

fn of_answers() -> impl Strategy<Value = Record> {
    prop_oneof![
        any::<u32>().prop_map(|count| Record::AnswersForgotten { count }),
        any::<[u32; 2]>().prop_map(|[of_processes, of_clients]| {
            Record::OldestForgotten(Excess {
                of_processes,
                of_clients,
            })
        }),
    ]
}

fn of_persons() -> impl Strategy<Value = Record> {
    (text(), option::of(text()), id(SnapshotId::parse)).prop_map(|(name, request, snapshot)| {
        let actor = Actor::of_request(Some(&name), request.as_deref());
        let change = Change::Pinned(snapshot);
        Record::Decided(Box::new(Decision { actor, change }))
    })
}

fn of_channels() -> impl Strategy<Value = Record> {
    prop_oneof![
        (process(), seq(), message()).prop_map(|(to, seq, message)| Record::Sent {
            to,
            seq,
            message
        }),
        (process(), seq(), message()).prop_map(|(to, seq, message)| Record::Carried {
            to,
            seq,
            message
        }),
        (process(), seq(), way(), option::of(account()), message()).prop_map(
            |(from, seq, way, suspense, message)| Record::Delivered {
                from,
                seq,
                way,
                suspense: suspense.map(Box::new),
                message
            }
        ),
        (process(), seq()).prop_map(|(to, seq)| Record::Acknowledged { to, seq }),
        (process(), any::<[u8; 16]>(), any::<u64>())
            .prop_map(|(peer, store, boot)| Record::RecognizedOnce { peer, store, boot }),
        (process(), any::<[u8; 16]>(), any::<[u64; 2]>()).prop_map(|(peer, store, [boot, run])| {
            let identity = Identity { store, boot, run };
            Record::Recognized { peer, identity }
        }),
        (process(), any::<u64>()).prop_map(|(peer, time)| Record::Unfollowed {
            peer,
            time: Hlc(time),
        }),
        (process(), any::<i128>())
            .prop_map(|(peer, written_off)| Record::Forgotten { peer, written_off }),
    ]
}

fn of_snapshots() -> impl Strategy<Value = Record> {
    prop_oneof![
        (id(SnapshotId::parse), process(), vec(process(), 0..3)).prop_map(
            |(snapshot, initiator, channels)| Record::StateRecorded {
                snapshot,
                initiator,
                channels,
            }
        ),
        id(SnapshotId::parse).prop_map(|snapshot| Record::PartStored { snapshot }),
        Just(Record::Checkpointed),
        Just(Record::ClockAdvanced),
        (id(SnapshotId::parse), any::<bool>(), any::<u64>()).prop_map(
            |(snapshot, requested, deadline_us)| {
                let by = match requested {
                    true => StartedBy::Request,
                    false => StartedBy::Interval,
                };
                let start = Start { by, deadline_us };
                Record::Started { snapshot, start }
            }
        ),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    let record = prop_oneof![
        of_accounts(),
        of_answers(),
        of_persons(),
        of_channels(),
        of_snapshots()
    ];
    (any::<[u64; 3]>(), vec(record, 0..8)).prop_map(|([position, time, clock], records)| Turn {
        position: Lsn(position),
        time: Hlc(time),
        clock: Lamport(clock),
        records,
    })
}

proptest! {
    #[test]
    fn a_turn_comes_back_as_it_was(turn in turn()) {
        let bytes = frame::encode(&TurnV1::freeze(&turn));
        let decoded: TurnV1 = frame::decode(&bytes).expect("it was just encoded");
        prop_assert_eq!(decoded.thaw(), turn);
    }

    #[test]
    fn a_turn_begins_with_its_head(turn in turn()) {
        let bytes = frame::wrap(frame::Kind::Turn, &frame::encode(&TurnV1::freeze(&turn)));
        let head: TurnHeadV1 = frame::peek(&bytes, 0).expect("it was just encoded");
        prop_assert_eq!((head.position, head.time), (turn.position, turn.time));
    }

    #[test]
    fn a_stretch_comes_back_as_it_was(
        (first, touches, journal) in any::<(u64, u64, [u8; 32])>(),
        pairs in vec(any::<(u32, u32)>(), 0..50),
    ) {
        let stretch = Segment { first: Lsn(first), touches, journal: Hash(journal) };
        let bytes = frame::encode(&StretchV1::freeze(&stretch));
        let decoded: StretchV1 = frame::decode(&bytes).expect("it was just encoded");
        prop_assert_eq!(decoded.thaw(), stretch);
        let touches = Touches { pairs };
        let bytes = frame::encode(&TouchesV1::freeze(&touches));
        let decoded: TouchesV1 = frame::decode(&bytes).expect("it was just encoded");
        prop_assert_eq!(decoded.thaw(), touches);
    }

    #[test]
    fn a_turn_that_is_cut_off_is_refused(turn in turn(), place in any::<prop::sample::Index>()) {
        let bytes = frame::encode(&TurnV1::freeze(&turn));
        let short = &bytes[..place.index(bytes.len())];
        prop_assert!(frame::decode::<TurnV1>(short).is_err());
    }
}
