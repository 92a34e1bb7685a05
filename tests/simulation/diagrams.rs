//! Diagrams of simulated runs show as crossing exactly what the snapshots recorded. Without this a picture could explain another
//! algorithm than the one that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use snapledger::history::diagram::excerpt::{
    Collector, Direction, Excerpt, ExcerptQuery, MessageEnd, SeqRange, Window,
};
use snapledger::history::diagram::{self, Arrow, Crossing, JournalAnswer, Sources};
use snapledger::history::global::GlobalState;
use snapledger::history::part::{Closing, Part, RecordedChannel, RecordedState};
use snapledger::picture::Picture;
use snapledger::process::channel::Flow;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{ChannelId, Hash, Lsn, ProcessId, Seq, SnapshotId};
use snapledger::process::message::{Body, Marker, Message};
use snapledger::process::record::{Record, Turn};
use snapledger::simulate::{Delays, Diagram, Report, Scenario, Source, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn drawn(topology: &str, events: &str, delays: Delays) -> (Report, Picture) {
    let source = |name, text| Source { name, text };
    let scenario = Scenario::parse(source("t.top", topology), source("e.events", events));
    let scenario = scenario.expect("a scenario");
    let mut diagram = Diagram::of(&scenario);
    let report = run(&scenario, delays, &mut |turn| diagram.watch(turn));
    (report.expect("it runs"), diagram.picture("a run"))
}

// Sender, receiver and amount, sorted.
fn crossing(picture: &Picture) -> Vec<(String, String, i64)> {
    let name = |lane: usize| picture.lanes[lane].name.clone();
    let crossing = picture.messages.iter().filter(|message| message.crosses);
    let mut crossing: Vec<_> = crossing
        .map(|one| (name(one.from), name(one.to), one.amount.expect("tokens")))
        .collect();
    crossing.sort();
    crossing
}

fn recorded(report: &Report) -> Vec<(String, String, i64)> {
    let messages = report.snapshots.iter().flat_map(|one| &one.messages);
    let mut recorded: Vec<_> = messages
        .map(|one| (one.from.to_string(), one.to.to_string(), one.tokens))
        .collect();
    recorded.sort();
    recorded
}

// All processes with a channel between every two, each with plenty.
fn topology(processes: usize) -> String {
    let names = || (0..processes).map(|number| format!("p{number}"));
    let tokens = names().map(|name| format!("{name} 1000"));
    let channels = names().flat_map(|from| {
        names().filter_map(move |to| (from != to).then(|| format!("{from} {to}")))
    });
    let lines: Vec<String> = tokens.chain(channels).collect();
    format!("{processes}\n{}", lines.join("\n"))
}

/// A run with one snapshot.
#[derive(Debug, Clone)]
struct Case {
    processes: usize,
    events: String,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let step = (0usize..6, 0usize..6, 1i64..4, 0u32..3);
    let steps = prop::collection::vec(step, 1..60);
    let at = any::<prop::sample::Index>();
    (2usize..6, steps, at, any::<u64>()).prop_map(|(processes, steps, at, seed)| {
        let mut events = String::new();
        let snapshot = at.index(steps.len());
        for (number, (from, to, tokens, ticks)) in steps.into_iter().enumerate() {
            let (from, to) = (from % processes, to % processes);
            if number == snapshot {
                events += &format!("snapshot p{from}\n");
            }
            if from != to {
                events += &format!("send p{from} p{to} {tokens}\n");
            }
            if ticks > 0 {
                events += &format!("tick {ticks}\n");
            }
        }
        Case {
            processes,
            events,
            seed,
        }
    })
}

type Journals = BTreeMap<ProcessId, Vec<Turn>>;

// The turns of a run, and the snapshot as a store would have it.
fn recorded_run(case: &Case) -> (GlobalState, Vec<ChannelId>, Vec<Crossing>, Journals) {
    let text = topology(case.processes);
    let source = |name, text| Source { name, text };
    let scenario = Scenario::parse(source("t.top", &text), source("e.events", &case.events));
    let scenario = scenario.expect("a scenario");
    let mut journals = Journals::new();
    let report = run(&scenario, Delays::seeded(case.seed), &mut |seen| {
        let journal = journals.entry(seen.process.clone()).or_default();
        journal.push(seen.turn.clone());
    });
    report.expect("it runs");
    let snapshot = SnapshotId::parse("0").expect("a valid id");
    let initiator = ProcessId::parse("p0").expect("a valid id");
    let mut state = GlobalState::begun(snapshot, initiator, Hlc::at(0), Lamport(1));
    let mut crossing = Vec::new();
    for (process, journal) in &journals {
        let part = part(&state.snapshot, process, journal, &mut crossing);
        state.parts.insert(process.clone(), part);
    }
    (
        state,
        scenario.topology.channels().collect(),
        crossing,
        journals,
    )
}

// What had passed at the cut.
fn recorded_state(journal: &[Turn]) -> RecordedState {
    let is_recording = |record: &Record| matches!(record, Record::StateRecorded { .. });
    let mut turns = journal.iter();
    let recording = turns.find(|turn| turn.records.iter().any(is_recording));
    let recording = recording.expect("every process records its state");
    let mut state = RecordedState {
        position: Lsn(recording.position.0 - 1),
        time: recording.time,
        journal: Hash([7; 32]),
        ..RecordedState::default()
    };
    let cut = state.position;
    let turns = journal.iter().filter(|turn| turn.position <= cut);
    for record in turns.flat_map(|turn| &turn.records) {
        let (flows, process, seq, message) = match record {
            Record::Sent { to, seq, message } => (&mut state.sent, to, seq, message),
            Record::Delivered {
                from, seq, message, ..
            } => (&mut state.delivered, from, seq, message),
            _ => continue,
        };
        let flow: &mut Flow = flows.entry(process.clone()).or_default();
        flow.pass(*seq, &message.body);
    }
    state
}

fn part(
    snapshot: &SnapshotId,
    process: &ProcessId,
    journal: &[Turn],
    crossing: &mut Vec<Crossing>,
) -> Part {
    let state = recorded_state(journal);
    let cut = state.position;
    let mut channels = BTreeMap::<ProcessId, RecordedChannel>::new();
    let mut waiting: BTreeMap<ProcessId, Vec<Crossing>> = BTreeMap::new();
    for turn in journal.iter().filter(|turn| turn.position > cut) {
        for record in &turn.records {
            let Record::Delivered {
                from, seq, message, ..
            } = record
            else {
                continue;
            };
            let marker = message.body.marker().map(|marker| &marker.snapshot);
            if marker != Some(snapshot) {
                waiting.entry(from.clone()).or_default().push(Crossing {
                    channel: ChannelId {
                        from: from.clone(),
                        to: process.clone(),
                    },
                    seq: *seq,
                    content: (&message.body).into(),
                });
                continue;
            }
            let messages = waiting.remove(from).unwrap_or_default();
            let opened = state.delivered.get(from);
            let opened = opened.map_or(0, |flow| flow.sequence.0);
            let closed = RecordedChannel {
                first: Seq(opened + 1),
                last: Seq(seq.0 - 1),
                transfers: messages.len() as u64,
                ..closed_by(from, turn)
            };
            channels.insert(from.clone(), closed);
            crossing.extend(messages);
        }
    }
    Part {
        snapshot: snapshot.clone(),
        process: process.clone(),
        initiator: process.clone(),
        state,
        channels: channels.into_values().collect(),
        open: Vec::new(),
        start: None,
    }
}

fn closed_by(from: &ProcessId, turn: &Turn) -> RecordedChannel {
    RecordedChannel {
        from: from.clone(),
        first: Seq(1),
        last: Seq(0),
        transfers: 0,
        amount: 0,
        chunks: Vec::new(),
        closing: Some(Closing {
            position: turn.position,
            time: turn.time,
        }),
    }
}

// As a store reads its journal.
fn excerpt(journal: &[Turn], query: &ExcerptQuery) -> Excerpt {
    let before = journal
        .iter()
        .take_while(|turn| turn.time < query.window.from);
    let beginning = before.last().map_or(Lsn(0), |turn| turn.position);
    let cut = query.cut.as_ref().map_or(beginning, |cut| cut.position);
    let mut forward = Collector::forward(query);
    let mut later = journal.iter().filter(|turn| turn.position > cut);
    let _over = later.try_for_each(|turn| forward.take(turn));
    let mut backward = Collector::backward(query, &forward);
    let mut earlier = journal.iter().rev().filter(|turn| turn.position <= cut);
    let _over = earlier.try_for_each(|turn| backward.take(turn));
    Excerpt {
        since: None,
        is_truncated: forward.is_full || backward.is_full,
        ends: [forward.ends, backward.ends].concat(),
    }
}

// As a node reads them: the newest of each channel, at most `limit` together.
fn newest(state: &GlobalState, crossing: Vec<Crossing>, limit: usize) -> Vec<Crossing> {
    let mut channels = BTreeMap::<ChannelId, Vec<Crossing>>::new();
    for one in crossing {
        channels.entry(one.channel.clone()).or_default().push(one);
    }
    let claims: Vec<u64> = channels.values().map(|of| of.len() as u64).collect();
    let shares = diagram::shares(&claims, limit as u64);
    let named = state.parts.values().flat_map(|part| &part.channels);
    assert_eq!(
        named.map(RecordedChannel::messages).sum::<u64>(),
        claims.iter().sum::<u64>()
    );
    let shown = channels
        .into_values()
        .zip(shares)
        .flat_map(|(mut of, share)| {
            of.split_off(of.len() - usize::try_from(share).expect("small"))
        });
    shown.collect()
}

fn drawn_diagram(
    case: &Case,
    limit: usize,
    around_us: u64,
) -> (GlobalState, diagram::Diagram, Vec<Crossing>) {
    let (state, channels, crossing, journals) = recorded_run(case);
    let crossing = newest(&state, crossing, limit);
    let window = diagram::window(&state, around_us, around_us);
    let processes: BTreeSet<ProcessId> = journals.keys().cloned().collect();
    let queries = diagram::queries(&state, &processes, window, &crossing, limit);
    let journals = queries.iter().map(|(process, query)| {
        let excerpt = excerpt(&journals[process], query);
        (process.clone(), JournalAnswer::Found(excerpt))
    });
    let found = diagram::draw(Sources {
        state: &state,
        channels,
        window,
        crossing: crossing.clone(),
        unread: BTreeSet::new(),
        journals: journals.collect(),
        limit,
    });
    (state, found, crossing)
}

fn by_turns(state: &GlobalState, arrow: &Arrow) -> Option<bool> {
    let cut = |process: &ProcessId| state.parts[process].state.position;
    let sent = arrow.sent?.position <= cut(&arrow.channel.from);
    let delivered = arrow.delivered?.position > cut(&arrow.channel.to);
    Some(sent && delivered)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_crosses_in_the_picture_is_what_the_snapshot_recorded(case in case()) {
        let delays = Delays::seeded(case.seed);
        let (report, picture) = drawn(&topology(case.processes), &case.events, delays);
        prop_assert_eq!(crossing(&picture), recorded(&report));
        prop_assert_eq!(picture.markers.len(), case.processes * (case.processes - 1));
        let svg = picture.svg();
        prop_assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn what_crosses_in_a_diagram_is_recorded_and_was_under_way_by_the_order_of_turns(
        case in case(),
        around_us in 0u64..80,
    ) {
        let (state, found, recorded) = drawn_diagram(&case, 10_000, around_us);
        let name = |channel: &ChannelId, seq| (channel.clone(), seq);
        let crossing = found.messages.iter().filter(|arrow| arrow.crosses);
        let crossing: BTreeSet<_> = crossing.map(|one| name(&one.channel, one.seq)).collect();
        let recorded: BTreeSet<_> = recorded.iter().map(|one| name(&one.channel, one.seq)).collect();
        prop_assert_eq!(&crossing, &recorded);
        for arrow in &found.messages {
            match by_turns(&state, arrow) {
                Some(crosses) => prop_assert_eq!(arrow.crosses, crosses, "{:?}", arrow),
                None => prop_assert!(!arrow.crosses, "it is known whole: {:?}", arrow),
            }
        }
        prop_assert!(!found.is_truncated);
        prop_assert_eq!(found.messages_total, found.messages.len());
    }

    // Without this a burst makes an answer without end, or hides what crosses.
    #[test]
    fn a_diagram_has_no_more_messages_than_its_limit_and_the_crossing_ones_first(
        case in case(),
        limit in 1usize..12,
    ) {
        let (_, whole, recorded) = drawn_diagram(&case, 10_000, 1000);
        let (_, found, given) = drawn_diagram(&case, limit, 1000);
        prop_assert!(found.messages.len() <= limit);
        let crossing = || found.messages.iter().filter(|arrow| arrow.crosses);
        prop_assert_eq!(crossing().count(), recorded.len().min(limit));
        // Without this a long channel displaces the short ones, and messages have no times although every journal is whole.
        let name = |channel: &ChannelId, seq| (channel.clone(), seq);
        let shown: BTreeSet<_> = crossing().map(|one| name(&one.channel, one.seq)).collect();
        let given: BTreeSet<_> = given.iter().map(|one| name(&one.channel, one.seq)).collect();
        prop_assert_eq!(shown, given);
        for arrow in crossing() {
            prop_assert!(arrow.sent.is_some() && arrow.delivered.is_some(), "{:?}", arrow);
        }
        prop_assert_eq!(found.is_truncated, whole.messages.len() > limit);
        prop_assert!((recorded.len()..=whole.messages.len()).contains(&found.messages_total));
    }

    // Without this the messages sent by a process that recorded nothing have no time, and the diagram claims to be cut short.
    #[test]
    fn what_a_process_without_a_part_sent_is_found_on_both_sides_of_the_window(
        case in case(),
        from in any::<prop::sample::Index>(),
    ) {
        let (state, _, crossing, journals) = recorded_run(&case);
        for (process, journal) in &journals {
            let from = journal[from.index(journal.len())].time;
            let window = Window { from, to: journal[journal.len() - 1].time };
            let mut alone = state.clone();
            alone.parts.remove(process);
            let processes = BTreeSet::from([process.clone()]);
            let queries = diagram::queries(&alone, &processes, window, &crossing, 10_000);
            let query = &queries[process];
            prop_assert!(query.cut.is_none());
            let found = excerpt(journal, query);
            prop_assert!(!found.is_truncated);
            for one in crossing.iter().filter(|one| one.channel.from == *process) {
                let is_it = |end: &&MessageEnd| {
                    let MessageEnd { other, direction, seq, .. } = end;
                    (other, *direction, *seq) == (&one.channel.to, Direction::Sent, one.seq)
                };
                prop_assert_eq!(found.ends.iter().filter(is_it).count(), 1, "{:?}", one);
            }
        }
    }
}

// Without this a process without a part reads its whole journal backward for messages that it sent later.
#[test]
fn what_was_found_behind_the_beginning_is_not_looked_for_before_it() {
    let [me, other] = ["p", "q"].map(|id| ProcessId::parse(id).expect("a valid id"));
    let sent = |seq| Record::Sent {
        to: other.clone(),
        seq: Seq(seq),
        message: Message {
            clock: Lamport(seq),
            body: Body::from(Marker {
                snapshot: SnapshotId::parse("other").expect("a valid id"),
                initiator: me.clone(),
            }),
        },
    };
    let turn = |position, records| Turn {
        position: Lsn(position),
        time: Hlc::at(position),
        clock: Lamport(position),
        records,
    };
    let journal: Vec<Turn> = (1..=9).map(|at| turn(at, vec![sent(at)])).collect();
    let range = |first, last| SeqRange {
        first: Seq(first),
        last: Seq(last),
    };
    for (wanted, turns_before) in [(range(6, 8), 0), (range(5, 5), 0), (range(3, 7), 2)] {
        let query = ExcerptQuery {
            window: Window {
                from: Hlc::at(5),
                to: Hlc::at(8),
            },
            sent: BTreeMap::from([(other.clone(), wanted)]),
            ..ExcerptQuery::default()
        };
        let mut forward = Collector::forward(&query);
        let _over = journal[4..].iter().try_for_each(|turn| forward.take(turn));
        let mut backward = Collector::backward(&query, &forward);
        let mut read = 0;
        let _over = journal[..4].iter().rev().try_for_each(|turn| {
            let flow = backward.take(turn);
            read += usize::from(!backward.ends.is_empty() || flow.is_continue());
            flow
        });
        assert_eq!(read, turns_before, "{wanted:?}");
        let mut found: Vec<u64> = forward
            .ends
            .iter()
            .chain(&backward.ends)
            .map(|end| end.seq.0)
            .collect();
        found.sort_unstable();
        assert_eq!(found, (wanted.first.0..=wanted.last.0).collect::<Vec<_>>());
    }
}

#[test]
fn every_scenario_is_drawn_with_what_it_recorded() {
    for name in ["overlapping", "ring", "hub"] {
        let file = |extension| {
            let path = Path::new(ROOT).join("tests/scenarios").join(name);
            fs::read_to_string(path.with_extension(extension)).expect("a file of the scenario")
        };
        let text = file("delays");
        let delays = Delays::parse(Source {
            name: "delays",
            text: &text,
        });
        let (report, picture) = drawn(&file("top"), &file("events"), delays.expect("digits"));
        assert_eq!(picture.cuts.len(), report.snapshots.len(), "{name}");
        // A message may be recorded by several snapshots, and is one arrow.
        let mut recorded = recorded(&report);
        recorded.dedup();
        let mut crossing = crossing(&picture);
        crossing.dedup();
        assert_eq!(crossing, recorded, "{name}");
    }
}

// The pictures in the documents are those that the commands beside them make.
#[test]
fn the_picture_of_the_readme_is_drawn_by_its_command() {
    let data = |name: &str| {
        let path = Path::new(ROOT).join("data").join(name);
        fs::read_to_string(path).expect("a published file")
    };
    let source = |name, text| Source { name, text };
    let (topology, events) = (data("ring.top"), data("ring.events"));
    let scenario = Scenario::parse(
        source("data/ring.top", &topology),
        source("data/ring.events", &events),
    );
    let scenario = scenario.expect("a scenario");
    let mut diagram = Diagram::of(&scenario);
    let report = run(&scenario, Delays::seeded(0), &mut |turn| {
        diagram.watch(turn)
    });
    report.expect("it runs");
    let path = Path::new(ROOT).join("docs/images/ring.svg");
    let drawn = diagram.picture("data/ring.events").svg();
    if std::env::var_os("SNAPLEDGER_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(path.parent().expect("a directory")).expect("there is room");
        fs::write(&path, &drawn).expect("there is room");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let how = "run: SNAPLEDGER_WRITE_FIXTURES=1 cargo test --test diagrams";
    assert!(kept == drawn, "docs/images/ring.svg is outdated; {how}");
}
