//! Random scenarios: strongly connected topologies, scripts and seeds.

use std::fmt;

use proptest::prelude::*;
use snapledger::process::ids::ProcessId;
use snapledger::process::record::Turn;
use snapledger::simulate::{Delays, Reason, Report, Scenario, Source, run};

/// A scenario as its two files, and the seed of its delays.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) topology: String,
    pub(crate) events: Vec<String>,
    pub(crate) seed: u64,
}

/// All turns in order: the tick, the process, and the turn.
pub(crate) type Trace = Vec<(u64, ProcessId, Turn)>;

/// An executed case.
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) report: Report,
    pub(crate) trace: Trace,
}

// proptest prints this when a property fails: files to paste, and the command that replays them.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topology, seed, .. } = self;
        let events = self.events.join("\n");
        writeln!(f, "\n--- t.top\n{topology}--- e.events\n{events}\n---")?;
        write!(
            f,
            "snapledger simulate --topology t.top --events e.events --seed {seed}"
        )
    }
}

impl Case {
    /// Runs the case. Events that send more than the balance are removed first, so that random scripts can run.
    pub(crate) fn run(&mut self) -> Run {
        loop {
            let events = self.events.join("\n");
            let topology = Source {
                name: "t.top",
                text: &self.topology,
            };
            let events = Source {
                name: "e.events",
                text: &events,
            };
            let scenario = Scenario::parse(topology, events).expect("cases are valid");
            let mut trace = Trace::new();
            let mut watch = |step: snapledger::simulate::SimulatedTurn<'_>| {
                trace.push((step.tick, step.process.clone(), step.turn.clone()));
            };
            match run(&scenario, Delays::seeded(self.seed), &mut watch) {
                Ok(report) => {
                    return Run {
                        scenario,
                        report,
                        trace,
                    };
                }
                Err(error) => {
                    let too_few = matches!(error.reason, Reason::TooFewTokens { .. });
                    assert!(too_few, "{error}\n{self:?}");
                    self.events.remove(error.line - 1);
                }
            }
        }
    }
}

/// Up to eight processes on a ring in random order, some chords, and a script of up to forty events.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    (2_usize..=8).prop_flat_map(|count| {
        let ring = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
        let chords = prop::collection::vec((0..count, 0..count), 0..=2 * count);
        let tokens = prop::collection::vec(0_i64..20, count);
        let channels = (ring, chords).prop_map(|(ring, chords)| join(&ring, chords));
        let script = prop::collection::vec(moments(), 0..40);
        (channels, tokens, script, any::<u64>()).prop_map(|(channels, tokens, script, seed)| Case {
            topology: write_topology(&channels, &tokens),
            events: script
                .iter()
                .map(|moment| moment.write(&channels))
                .collect(),
            seed,
        })
    })
}

/// An event whose process or channel is drawn and reduced modulo their number.
#[derive(Debug, Clone)]
enum Moment {
    Send(usize, i64),
    Snapshot(usize),
    Tick(u32),
}

fn moments() -> impl Strategy<Value = Moment> {
    prop_oneof![
        5 => (any::<usize>(), 1_i64..8).prop_map(|(channel, tokens)| Moment::Send(channel, tokens)),
        1 => any::<usize>().prop_map(Moment::Snapshot),
        2 => (1_u32..4).prop_map(Moment::Tick),
    ]
}

impl Moment {
    fn write(&self, channels: &[(usize, usize)]) -> String {
        match self {
            Self::Send(channel, tokens) => {
                let (from, to) = channels[channel % channels.len()];
                format!("send p{from} p{to} {tokens}")
            }
            Self::Snapshot(channel) => {
                format!("snapshot p{}", channels[channel % channels.len()].0)
            }
            Self::Tick(ticks) => format!("tick {ticks}"),
        }
    }
}

fn join(ring: &[usize], chords: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let next = ring.iter().cycle().skip(1);
    let mut channels: Vec<_> = ring.iter().copied().zip(next.copied()).collect();
    channels.extend(chords.into_iter().filter(|(from, to)| from != to));
    channels.sort_unstable();
    channels.dedup();
    channels
}

fn write_topology(channels: &[(usize, usize)], tokens: &[i64]) -> String {
    let processes = tokens.iter().enumerate();
    let processes: String = processes
        .map(|(id, tokens)| format!("p{id} {tokens}\n"))
        .collect();
    let channels = channels.iter();
    let channels: String = channels
        .map(|(from, to)| format!("p{from} p{to}\n"))
        .collect();
    format!("{}\n{processes}{channels}", tokens.len())
}
