//! The parameters that a seed determines in advance: processes, delays, fault rates.

use snapledger::channel::window::WindowLimits;
use snapledger::process::ids::{AccountId, ChannelId, ProcessId};
use snapledger::process::limits::Limits;
use snapledger::process::topology::Topology;

use crate::random::Random;
use crate::sabotage::Sabotage;

/// One millisecond and one second of virtual time, microseconds.
pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// The accounts of every process.
pub(crate) const ACCOUNTS: [&str; 3] = ["rent", "food", "fun"];

/// The parameters of one run. Times are in microseconds.
pub(crate) struct Plan {
    pub(crate) topology: Topology,
    pub(crate) ids: Vec<ProcessId>,
    /// The number of operations of all clients after which faults end.
    pub(crate) operations: u64,
    /// The maximum pause of a client between two operations.
    pub(crate) pause_max: u64,
    /// The maximum pause between two queries about the past.
    pub(crate) question_pause_max: u64,
    pub(crate) net_delay_max: u64,
    pub(crate) sync_delay_max: u64,
    pub(crate) record_delay_max: u64,
    /// The maximum number of turns computed while one is being made durable.
    pub(crate) turns_ahead: usize,
    pub(crate) turn_weight_max: usize,
    pub(crate) window_limits: WindowLimits,
    pub(crate) unacknowledged_max: u64,
    pub(crate) unsettled_max: usize,
    pub(crate) open_snapshots_max: usize,
    pub(crate) deadline: u64,
    pub(crate) crash: Odds,
    pub(crate) power_cut: Odds,
    pub(crate) disconnect: Odds,
    pub(crate) duplicate: Odds,
    pub(crate) lost_ack: Odds,
    pub(crate) clock_jump: Odds,
    /// The odds that a chunk of another process rots.
    pub(crate) rot: Odds,
    /// The odds that a snapshot is started at several processes under one id.
    pub(crate) same_id: Odds,
    /// The number of snapshots that each process keeps.
    pub(crate) snapshots_kept: Option<usize>,
    /// How far ahead a clock is followed.
    pub(crate) clock_ahead_max: u64,
    /// A process whose first start is late, and when.
    pub(crate) joins: Option<(usize, u64)>,
    /// A process that goes down permanently in this run.
    pub(crate) never_returns: Option<usize>,
    /// A process whose store is wiped in this run.
    pub(crate) wiped: Option<usize>,
    /// Whether an older copy replaces that store first.
    pub(crate) put_back: bool,
    /// Whether a client pays in as much as an account can hold.
    pub(crate) is_rich: bool,
    /// What each process may store for clients.
    pub(crate) limits: Limits,
    pub(crate) sabotage: Option<Sabotage>,
}

/// The odds of an event: once in this many times, 0 for never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Odds(u64);

impl Odds {
    pub(crate) fn strikes(self, random: &mut Random) -> bool {
        self.0 > 0 && random.below(self.0) == 0
    }

    pub(crate) fn drawn(random: &mut Random, choices: &[u64]) -> Self {
        Self(choices[random.index(choices.len())])
    }
}

impl Plan {
    pub(crate) fn drawn(random: &mut Random, sabotage: Option<Sabotage>) -> Self {
        let count = 2 + random.index(4);
        let ids: Vec<_> = ["a", "b", "c", "d", "e"][..count]
            .iter()
            .map(|id| ProcessId::parse(id).expect("a valid id"))
            .collect();
        let between = |random: &mut Random, low: u64, high: u64| low + random.below(high + 1 - low);
        let size =
            |random: &mut Random, high: u64| 1 + random.index(usize::try_from(high).unwrap_or(1));
        let mut plan = Self {
            topology: topology(random, &ids),
            ids,
            operations: between(random, 20, 50),
            pause_max: between(random, 10, 120) * MS,
            question_pause_max: 400 * MS,
            net_delay_max: between(random, 1, 40) * MS,
            sync_delay_max: between(random, 1, 15) * MS,
            record_delay_max: between(random, 1, 150) * MS,
            turns_ahead: size(random, 3),
            turn_weight_max: size(random, 6),
            window_limits: window_limits(random),
            unacknowledged_max: between(random, 1, 12),
            unsettled_max: random.index(3),
            open_snapshots_max: size(random, 4),
            deadline: between(random, 200, 2_000) * MS,
            crash: Odds::drawn(random, &[0, 20, 50, 120]),
            power_cut: Odds::drawn(random, &[1, 1, 3]),
            disconnect: Odds::drawn(random, &[0, 40, 100]),
            duplicate: Odds::drawn(random, &[0, 3, 10]),
            lost_ack: Odds::drawn(random, &[0, 8, 25]),
            clock_jump: Odds::drawn(random, &[0, 50, 200]),
            rot: Odds::drawn(random, &[0, 0, 100]),
            same_id: Odds::drawn(random, &[0, 0, 1, 3]),
            snapshots_kept: (random.below(5) == 0).then(|| 1 + random.index(4)),
            clock_ahead_max: [2, 10, 60][random.index(3)] * SECOND,
            never_returns: (random.below(8) == 0).then(|| random.index(count)),
            joins: None,
            wiped: None,
            put_back: false,
            is_rich: random.below(6) == 0,
            limits: limits(random),
            sabotage,
        };
        // Without these odds, clocks are rarely wrong for long enough.
        if plan.is_sabotaged(Sabotage::ClocksFollowed) {
            plan.operations *= 3;
            plan.clock_ahead_max = 2 * SECOND;
            (plan.clock_jump, plan.crash, plan.disconnect) = (Odds(10), Odds(50), Odds(40));
        }
        let is_spared = plan.never_returns.is_some() || sabotage.is_some();
        let wiped = (random.below(4) == 0).then(|| random.index(count));
        plan.wiped = wiped.filter(|_| !is_spared);
        plan.put_back = random.below(2) == 0;
        // With a wide bound, an older copy is rarely through with catching up before the end.
        if plan.wiped.is_some() && plan.put_back && plan.clock_ahead_max > 10 * SECOND {
            plan.clock_ahead_max = SECOND;
        }
        plan.provoke(random);
        plan
    }

    // Without these changes the fault of a sabotage rarely shows.
    fn provoke(&mut self, random: &mut Random) {
        let of_copies = [Sabotage::GapTakenForKnown, Sabotage::CopyAnswersAtOnce];
        if of_copies.iter().any(|one| self.is_sabotaged(*one)) {
            self.never_returns = None;
            self.wiped = Some(random.index(self.ids.len()));
            self.put_back = true;
            // The original has answered for later instants if its clock was ahead.
            self.clock_ahead_max = 10 * SECOND;
            self.clock_jump = Odds(50);
            // A wrong answer shows only if the same instant was answered before.
            self.question_pause_max = 50 * MS;
        }
        // The time before a journal is asked about again once another store has taken its place.
        if self.is_sabotaged(Sabotage::LaterTakenAtItsWord) {
            self.wiped = Some(random.index(self.ids.len()));
            self.put_back = false;
            self.never_returns = None;
            self.operations *= 3;
            self.question_pause_max = 50 * MS;
        }
        // An early answer is wrong only if the clock went back and the instant was asked about before.
        if self.is_sabotaged(Sabotage::CopyAnswersAtOnce) {
            self.clock_ahead_max = 10 * SECOND;
            self.clock_jump = Odds(10);
        }
    }

    /// Draws whether a process joins the others late.
    pub(crate) fn joining(mut self, seed: u64) -> Self {
        let mut random = Random::new(seed.rotate_left(32));
        let is_wanted = random.below(6) == 0 && self.sabotage.is_none();
        let joins = (random.index(self.ids.len()), random.below(3 * SECOND));
        self.joins = is_wanted.then_some(joins);
        self
    }

    pub(crate) fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// A random one of the accounts of every process.
    pub(crate) fn account(random: &mut Random) -> AccountId {
        let name = ACCOUNTS[random.index(ACCOUNTS.len())];
        AccountId::parse(name).expect("a valid id")
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let channels: Vec<_> = self
            .topology
            .channels()
            .map(|channel| channel.to_string())
            .collect();
        write!(
            f,
            "{} | {} operations, {} turns ahead, crash {:?}, disconnect {:?}, never returns {:?}, wiped {:?}, put back {}, sabotage {:?}",
            channels.join(" "),
            self.operations,
            self.turns_ahead,
            self.crash,
            self.disconnect,
            self.never_returns,
            self.wiped,
            self.put_back,
            self.sabotage
        )
    }
}

// As small as what the clients use: accounts, two keys, values of two bytes. Request ids are not limited, because a repeat
// must be answered as the first.
fn limits(random: &mut Random) -> Limits {
    let mut limits = Limits::default();
    if random.below(4) == 0 {
        limits.accounts = 1 + random.below(3);
    }
    if random.below(4) == 0 {
        limits.keys = 1;
    }
    if random.below(4) == 0 {
        limits.value_bytes = 2 + random.below(3);
    }
    limits
}

// Smaller than the number of messages in flight, so that the journal is read and places are kept.
fn window_limits(random: &mut Random) -> WindowLimits {
    WindowLimits {
        frame_messages: 1 + random.index(4),
        messages: random.index(6),
        keep_every: 1 + random.below(6),
        ..WindowLimits::default()
    }
}

// A complete graph, a ring, or a ring with chords.
fn topology(random: &mut Random, ids: &[ProcessId]) -> Topology {
    let channel = |from: usize, to: usize| ChannelId {
        from: ids[from].clone(),
        to: ids[to].clone(),
    };
    let count = ids.len();
    let chords = match random.below(3) {
        0 => return Topology::full(ids).expect("two processes or more"),
        1 => 0,
        _ => 1 + random.below(count as u64 * 2),
    };
    let mut channels: Vec<_> = (0..count)
        .map(|from| channel(from, (from + 1) % count))
        .collect();
    for _ in 0..chords {
        let (from, to) = (random.index(count), random.index(count));
        if from != to {
            channels.push(channel(from, to));
        }
    }
    Topology::new(ids, channels).expect("a ring is strongly connected")
}
