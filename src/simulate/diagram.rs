//! The picture of a run: every process, message and snapshot, in ticks.

use std::collections::BTreeMap;

use super::scenario::Scenario;
use super::{SimulatedTurn, TICKS_AFTER};
use crate::picture::{Amounts, Axis, Cut, Lane, Marker, Message, Picture, Recording, Unit};
use crate::process::ids::{ProcessId, Seq, SnapshotId};
use crate::process::message::Body;
use crate::process::record::Record;

/// The most messages of a picture; later ones are left out.
const MESSAGES_MAX: usize = 100_000;

/// What is seen of a run, turn by turn.
#[derive(Debug)]
pub struct Diagram {
    lanes: BTreeMap<ProcessId, usize>,
    /// By snapshot, in the order of their start.
    cuts: Vec<(SnapshotId, Vec<Option<Place>>)>,
    /// The messages that are under way, by name.
    sent: BTreeMap<Name, usize>,
    messages: Vec<Seen>,
    ended: u64,
    left_out: usize,
}

/// The name of a message: the lanes of its ends, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    from: usize,
    to: usize,
    seq: Seq,
}

/// The place of an event: turns of one tick have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tick: u64,
    turn: u64,
}

#[derive(Debug)]
struct Seen {
    from: usize,
    to: usize,
    sent: Place,
    delivered: Option<Place>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Tokens(i64),
    Marker(SnapshotId),
    Other,
}

impl Diagram {
    /// Of a run of this scenario, which is about to begin.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self {
            lanes: scenario.topology.processes().cloned().zip(0..).collect(),
            cuts: Vec::new(),
            sent: BTreeMap::new(),
            messages: Vec::new(),
            ended: 0,
            left_out: 0,
        }
    }

    /// Takes note of the next turn.
    pub fn watch(&mut self, turn: SimulatedTurn<'_>) {
        let Some(lane) = self.lanes.get(turn.process).copied() else {
            return;
        };
        self.ended = turn.tick;
        let place = Place {
            tick: turn.tick,
            turn: turn.turn.position.0,
        };
        for record in &turn.turn.records {
            let name = |from: Option<&usize>, to: Option<&usize>, seq: Seq| {
                let (from, to) = (*from?, *to?);
                Some(Name { from, to, seq })
            };
            if let Record::StateRecorded { snapshot, .. } = record {
                self.record(snapshot, lane, place);
            } else if let Record::Sent { to, seq, message } = record {
                if let Some(name) = name(Some(&lane), self.lanes.get(to), *seq) {
                    self.send(name, place, &message.body);
                }
            } else if let Record::Delivered { from, seq, .. } = record {
                let name = name(self.lanes.get(from), Some(&lane), *seq);
                if let Some(index) = name.and_then(|name| self.sent.remove(&name)) {
                    self.messages[index].delivered = Some(place);
                }
            }
        }
    }

    fn record(&mut self, snapshot: &SnapshotId, lane: usize, place: Place) {
        let known = self.cuts.iter().position(|(id, _)| id == snapshot);
        let index = known.unwrap_or_else(|| {
            let points = vec![None; self.lanes.len()];
            self.cuts.push((snapshot.clone(), points));
            self.cuts.len() - 1
        });
        self.cuts[index].1[lane] = Some(place);
    }

    fn send(&mut self, name: Name, sent: Place, body: &Body) {
        if self.messages.len() == MESSAGES_MAX {
            self.left_out += 1;
            return;
        }
        self.sent.insert(name, self.messages.len());
        self.messages.push(Seen {
            from: name.from,
            to: name.to,
            sent,
            delivered: None,
            content: match body {
                Body::Transfer(transfer) => Content::Tokens(transfer.amount.units()),
                Body::Marker(marker) => Content::Marker(marker.snapshot.clone()),
                Body::Put(_) => Content::Other,
            },
        });
    }

    /// The picture of what was seen; `name` is that of the scenario.
    #[must_use]
    pub fn picture(&self, name: &str) -> Picture {
        let ended = i64::try_from(self.ended + TICKS_AFTER / 2).unwrap_or(i64::MAX);
        let mut picture = Picture {
            title: format!("{name}: {}", snapshots(self.cuts.len())),
            axis: Axis {
                from: -1,
                to: ended,
                origin: 0,
                unit: Unit::Ticks,
            },
            lanes: self
                .lanes
                .iter()
                .map(|(id, lane)| self.lane(id, *lane))
                .collect(),
            amounts: Amounts::default(),
            ..Picture::default()
        };
        for (snapshot, points) in &self.cuts {
            picture.cuts.push(Cut {
                name: format!("snapshot {snapshot}"),
                points: points.iter().map(|at| at.map(tick)).collect(),
                is_complete: points.iter().all(Option::is_some),
            });
        }
        for seen in &self.messages {
            let delivered = seen.delivered.map(tick);
            if let Content::Marker(snapshot) = &seen.content {
                if let Some(delivered) = delivered {
                    self.mark(&mut picture, seen, snapshot, delivered);
                }
                continue;
            }
            picture.messages.push(Message {
                from: seen.from,
                to: seen.to,
                sent: Some(tick(seen.sent)),
                delivered,
                amount: match seen.content {
                    Content::Tokens(tokens) => Some(tokens),
                    Content::Marker(_) | Content::Other => None,
                },
                crosses: self.crosses(seen),
            });
        }
        if self.left_out > 0 {
            let more = self.left_out;
            picture.remarks.push(format!(
                "The first {MESSAGES_MAX} messages are shown, and {more} later ones are not."
            ));
        }
        picture
    }

    fn lane(&self, process: &ProcessId, lane: usize) -> Lane {
        let recorded = self.cuts.iter().filter_map(|(_, points)| points[lane]);
        let ticks: Vec<String> = recorded.map(|at| at.tick.to_string()).collect();
        Lane {
            name: process.to_string(),
            note: match ticks.is_empty() {
                true => String::new(),
                false => format!("recorded at tick {}", ticks.join(", ")),
            },
            is_absent: false,
        }
    }

    fn mark(&self, picture: &mut Picture, seen: &Seen, snapshot: &SnapshotId, delivered: i64) {
        picture.markers.push(Marker {
            from: seen.from,
            to: seen.to,
            sent: tick(seen.sent),
            delivered,
        });
        let cut = self.cuts.iter().find(|(id, _)| id == snapshot);
        let recorded = cut.and_then(|(_, points)| points[seen.to]).map(tick);
        // The channel of a first marker is empty.
        if let Some(recorded) = recorded.filter(|recorded| *recorded < delivered) {
            let name = |lane: usize| picture.lanes[lane].name.as_str();
            let label = format!("{}→{}", name(seen.from), name(seen.to));
            picture.recordings.push(Recording {
                lane: seen.to,
                from: recorded,
                to: Some(delivered),
                label,
            });
        }
    }

    // Sent before the sender recorded its state for some snapshot, delivered when the receiver had. A turn that records its state
    // does so before everything else.
    fn crosses(&self, seen: &Seen) -> bool {
        self.cuts.iter().any(|(_, points)| {
            let sender = points[seen.from];
            let receiver = points[seen.to];
            let is_before = sender.is_some_and(|cut| seen.sent < cut);
            let is_behind = match (seen.delivered, receiver) {
                (Some(delivered), Some(cut)) => delivered >= cut,
                (None, Some(_)) => true,
                _ => false,
            };
            is_before && is_behind
        })
    }
}

fn tick(place: Place) -> i64 {
    i64::try_from(place.tick).unwrap_or(i64::MAX)
}

fn snapshots(count: usize) -> String {
    match count {
        1 => "1 snapshot".to_owned(),
        count => format!("{count} snapshots"),
    }
}
