//! Key-value writes propagate over all channels; all processes converge.

use std::collections::VecDeque;

use snapledger::process::Process;
use snapledger::process::ids::Key;
use snapledger::process::input::{Input, Operation};
use snapledger::process::query::{Query as _, ValueOf};

use super::{alone, ring, sent, step};

fn put(key: &str, value: Option<&str>) -> Input {
    Input::Operation {
        request: None,
        operation: Operation::Put {
            key: Key::parse(key).expect("a valid key"),
            value: value.map(Into::into),
        },
    }
}

fn get(process: &mut Process, key: &str) -> Option<Box<str>> {
    let key = Key::parse(key).expect("a valid key");
    ValueOf(key).ask(process)
}

/// Processes on a ring, and the messages in flight to the next of each.
struct Ring {
    ids: [&'static str; 4],
    processes: Vec<Process>,
    under_way: VecDeque<(usize, Input)>,
}

impl Ring {
    fn new() -> Self {
        let ids = ["a", "b", "c", "d"];
        let topology = ring(&ids);
        Self {
            ids,
            processes: ids.iter().map(|id| alone(id, &topology)).collect(),
            under_way: VecDeque::new(),
        }
    }

    fn step(&mut self, index: usize, input: Input) {
        let (_, turn) = step(&mut self.processes[index], input);
        let next = (index + 1) % self.ids.len();
        let sent = sent(&turn, &self.processes[index], self.ids[next]);
        self.under_way
            .extend(sent.into_iter().map(|input| (next, input)));
    }

    /// Delivers everything. A write is not forwarded where it is already known, so this terminates.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let Some((index, input)) = self.under_way.pop_front() else {
                return;
            };
            self.step(index, input);
        }
        unreachable!("writes go round for ever");
    }
}

#[test]
fn concurrent_writes_converge_in_a_ring() {
    let mut ring = Ring::new();
    ring.step(0, put("k", Some("from a")));
    ring.step(2, put("k", Some("from c")));
    ring.step(1, put("other", Some("from b")));
    ring.settle();
    for process in &mut ring.processes {
        // Both writes have the same clock, so the greater process id wins.
        assert_eq!(
            get(process, "k").as_deref(),
            Some("from c"),
            "{}",
            process.id()
        );
        assert_eq!(get(process, "other").as_deref(), Some("from b"));
    }
}

#[test]
fn a_deletion_reaches_everyone_and_is_not_undone() {
    let mut ring = Ring::new();
    ring.step(0, put("k", Some("old")));
    ring.settle();
    ring.step(3, put("k", None));
    ring.settle();
    for process in &mut ring.processes {
        assert_eq!(get(process, "k"), None, "{}", process.id());
    }
}

#[test]
fn a_write_after_what_was_read_wins() {
    let mut ring = Ring::new();
    ring.step(3, put("k", Some("first")));
    ring.settle();
    ring.step(0, put("k", Some("second")));
    ring.settle();
    for process in &mut ring.processes {
        assert_eq!(
            get(process, "k").as_deref(),
            Some("second"),
            "{}",
            process.id()
        );
    }
}
