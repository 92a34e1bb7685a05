//! A second, deliberately simple implementation of interface.md §4: every tick visits every channel, every message is
//! recorded where it is received, and no code of the program is used. Both must print exactly the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use super::case::Case;

type Channel = (String, String);

#[derive(Clone, Copy)]
enum Message {
    Tokens(i64),
    Marker(usize),
}

#[derive(Default)]
struct Snapshot {
    tokens: BTreeMap<String, i64>,
    /// By receiver, then sender.
    recorded: BTreeMap<Channel, Vec<i64>>,
    /// Channels whose marker has arrived.
    closed: BTreeSet<Channel>,
}

struct Reference {
    now: u64,
    state: u64,
    tokens: BTreeMap<String, i64>,
    channels: BTreeMap<Channel, VecDeque<(u64, Message)>>,
    snapshots: Vec<Snapshot>,
}

/// Returns the expected report of the case.
pub(crate) fn report(case: &Case) -> String {
    let mut reference = Reference::new(case);
    for event in &case.events {
        let words: Vec<_> = event.split(' ').collect();
        match words[..] {
            ["send", from, to, tokens] => {
                let tokens: i64 = tokens.parse().expect("cases are valid");
                *reference.tokens.get_mut(from).expect("cases are valid") -= tokens;
                reference.send((from.into(), to.into()), Message::Tokens(tokens));
            }
            ["snapshot", process] => {
                reference.snapshots.push(Snapshot::default());
                reference.record(reference.snapshots.len() - 1, process);
            }
            ["tick", ticks] => {
                (0..ticks.parse().expect("cases are valid")).for_each(|_: u32| reference.tick());
            }
            _ => unreachable!("{event}"),
        }
    }
    let channels = reference.channels.len();
    while reference
        .snapshots
        .iter()
        .any(|snapshot| snapshot.closed.len() < channels)
    {
        reference.tick();
    }
    reference.print()
}

impl Reference {
    fn new(case: &Case) -> Self {
        let mut lines = case.topology.lines().skip(1);
        let count: usize = case
            .topology
            .lines()
            .next()
            .map_or(0, |n| n.parse().expect("a number"));
        let words = |line: &str| {
            let (first, second) = line.split_once(' ').expect("two words");
            (first.to_owned(), second.to_owned())
        };
        let processes = lines.by_ref().take(count).map(words);
        let tokens = processes
            .map(|(id, tokens)| (id, tokens.parse().expect("a number")))
            .collect();
        Self {
            now: 0,
            state: case.seed,
            tokens,
            channels: lines.map(|line| (words(line), VecDeque::new())).collect(),
            snapshots: Vec::new(),
        }
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % 5
    }

    fn send(&mut self, channel: Channel, message: Message) {
        let due = self.now + 1 + self.draw();
        let queue = self.channels.get_mut(&channel).expect("the channel exists");
        queue.push_back((due, message));
    }

    fn record(&mut self, number: usize, process: &str) {
        let tokens = self.tokens[process];
        self.snapshots[number]
            .tokens
            .insert(process.to_owned(), tokens);
        let all: Vec<_> = self.channels.keys().cloned().collect();
        for channel in all.into_iter().filter(|(from, _)| from == process) {
            self.send(channel, Message::Marker(number));
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        let processes: Vec<_> = self.tokens.keys().cloned().collect();
        for process in processes {
            let now = self.now;
            let mut own = self
                .channels
                .iter_mut()
                .filter(|((from, _), _)| *from == process);
            let due = own.find(|(_, queue)| queue.front().is_some_and(|(due, _)| *due <= now));
            let Some((channel, queue)) = due else {
                continue;
            };
            let (_, message) = queue.pop_front().expect("its head is due");
            let channel = channel.clone();
            self.receive(&channel, message);
        }
    }

    fn receive(&mut self, channel: &Channel, message: Message) {
        let (from, to) = channel;
        match message {
            Message::Tokens(tokens) => {
                *self.tokens.get_mut(to).expect("the process exists") += tokens;
                for snapshot in &mut self.snapshots {
                    if snapshot.tokens.contains_key(to) && !snapshot.closed.contains(channel) {
                        let recorded = snapshot.recorded.entry((to.clone(), from.clone()));
                        recorded.or_default().push(tokens);
                    }
                }
            }
            Message::Marker(number) => {
                if !self.snapshots[number].tokens.contains_key(to) {
                    self.record(number, to);
                }
                self.snapshots[number].closed.insert(channel.clone());
            }
        }
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for (number, snapshot) in self.snapshots.iter().enumerate() {
            let gap = if number == 0 { "" } else { "\n" };
            writeln!(text, "{gap}{number}").expect("a string takes everything");
            for (process, tokens) in &snapshot.tokens {
                writeln!(text, "{process} {tokens}").expect("a string takes everything");
            }
            for ((to, from), messages) in &snapshot.recorded {
                for tokens in messages {
                    writeln!(text, "{from} {to} token({tokens})")
                        .expect("a string takes everything");
                }
            }
        }
        text
    }
}
