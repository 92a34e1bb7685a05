//! The spans of a snapshot. Their ids follow from the snapshot and the step, so a node knows the parents of its spans without
//! having heard of them.

use std::collections::BTreeSet;

use super::context::{SpanContext, SpanId, TraceId};
use super::span::{Kind, Span, Value};
use super::tracer::Tracer;
use crate::history::global::{Completeness, GlobalState};
use crate::history::part::Part;
use crate::process::ids::{ProcessId, SnapshotId};

const SNAPSHOT: &str = "snapshot";
const RECORD: &str = "record";
const CHANNEL_CLOSED: &str = "channel closed";
const PART_FETCHED: &str = "part fetched";
const PUBLISHED: &str = "published";

/// Distinguishes these hashes from all others.
const HASHED_FOR: &str = "snapledger 2026 trace of a snapshot";

/// The trace of a snapshot.
#[derive(Debug, Clone, Copy)]
struct Trace {
    id: TraceId,
    is_sampled: bool,
}

impl Trace {
    fn of(tracer: &Tracer, snapshot: &SnapshotId) -> Self {
        let hash = hashed(&[tracer.cluster().as_bytes(), snapshot.as_str().as_bytes()]);
        let id = TraceId(leading(&hash));
        Self {
            id,
            is_sampled: tracer.sample().has(u128::from_be_bytes(id.0)),
        }
    }

    // The span of a step; `of` tells it from others of this name.
    fn step(self, name: &str, of: &[&str]) -> SpanContext {
        let mut parts = vec![&self.id.0[..], name.as_bytes()];
        parts.extend(of.iter().map(|of| of.as_bytes()));
        SpanContext {
            trace: self.id,
            span: SpanId(leading(&hashed(&parts))),
            is_sampled: self.is_sampled,
        }
    }

    fn whole(self) -> SpanContext {
        self.step(SNAPSHOT, &[])
    }

    fn record(self, process: &ProcessId) -> SpanContext {
        self.step(RECORD, &[process.as_str()])
    }
}

// Each part with its length, so that no two lists have the same bytes.
fn hashed(parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(HASHED_FOR);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

fn leading<const N: usize>(hash: &blake3::Hash) -> [u8; N] {
    std::array::from_fn(|place| hash.as_bytes()[place])
}

fn id(id: &impl ToString) -> Value {
    Value::Id(id.to_string())
}

/// A part that is being fetched for an assembly.
#[derive(Debug)]
pub struct Fetch {
    tracer: Tracer,
    snapshot: SnapshotId,
    process: ProcessId,
    start_us: u64,
}

impl Fetch {
    /// The span in which the part is fetched; `None` if the snapshot is not traced.
    #[must_use]
    pub fn span(&self) -> Option<SpanContext> {
        let trace = Trace::of(&self.tracer, &self.snapshot);
        let of = [self.tracer.me().as_str(), self.process.as_str()];
        trace.is_sampled.then(|| trace.step(PART_FETCHED, &of))
    }

    /// The finished part is here, with all its contents.
    pub fn done(self) {
        let Some(context) = self.span() else {
            return;
        };
        let whole = Trace::of(&self.tracer, &self.snapshot).whole();
        self.tracer.end(Span {
            name: PART_FETCHED,
            context,
            parent: Some(whole.span),
            kind: Kind::Internal,
            start_us: self.start_us,
            end_us: self.tracer.now_us(),
            attributes: vec![
                ("snapledger.snapshot", id(&self.snapshot)),
                ("snapledger.process", id(&self.process)),
            ],
            link: None,
            error: None,
        });
    }
}

/// A revision that is being published.
#[derive(Debug)]
pub struct Published {
    tracer: Tracer,
    start_us: u64,
    is_first: bool,
}

impl Published {
    /// The revision is in the history. The first one ends the snapshot's own span.
    pub fn done(self, state: &GlobalState) {
        let tracer = &self.tracer;
        let cause = tracer.take_cause(&state.snapshot);
        let trace = Trace::of(tracer, &state.snapshot);
        if !trace.is_sampled {
            return;
        }
        let end_us = tracer.now_us();
        let error = match &state.completeness {
            Completeness::Complete => None,
            Completeness::Partial { .. } => Some("the snapshot is partial"),
        };
        let revision = state.revision;
        let mut attributes = vec![
            ("snapledger.snapshot", id(&state.snapshot)),
            ("snapledger.initiator", id(&state.initiator)),
            ("snapledger.status", Value::Word(state.status())),
            ("snapledger.revision", Value::Number(revision.into())),
            ("snapledger.parts", Value::Number(state.parts.len() as u64)),
        ];
        if let Completeness::Partial {
            missing,
            open_channels,
            ..
        } = &state.completeness
        {
            let (missing, open) = (missing.len() as u64, open_channels.len() as u64);
            attributes.push(("snapledger.missing", Value::Number(missing)));
            attributes.push(("snapledger.open_channels", Value::Number(open)));
        }
        let published = Span {
            name: PUBLISHED,
            context: trace.step(PUBLISHED, &[&revision.to_string()]),
            parent: Some(trace.whole().span),
            kind: Kind::Internal,
            start_us: self.start_us,
            end_us,
            attributes,
            link: None,
            error,
        };
        if self.is_first {
            tracer.end(Span {
                name: SNAPSHOT,
                context: trace.whole(),
                parent: None,
                start_us: state.initiated_at.wall_us(),
                link: cause,
                ..published.clone()
            });
        }
        tracer.end(published);
    }
}

/// The share of one process in a snapshot. Each step is exported once, however often the part is noted.
#[derive(Debug)]
pub struct Share {
    tracer: Tracer,
    trace: Trace,
    is_recorded: bool,
    closed: BTreeSet<ProcessId>,
}

impl Share {
    /// Exports what is new in the own part, finished or not.
    pub fn note(&mut self, part: &Part) {
        let recorded_us = part.state.time.wall_us();
        let record = self.trace.record(&part.process);
        for channel in &part.channels {
            if !self.closed.insert(channel.from.clone()) {
                continue;
            }
            // A turn that is no longer in the journal does not say when it closed the channel; it was before now.
            let closed_us = channel.closing.map(|closing| closing.time.wall_us());
            let of = [channel.from.as_str(), part.process.as_str()];
            self.tracer.end(Span {
                name: CHANNEL_CLOSED,
                context: self.trace.step(CHANNEL_CLOSED, &of),
                parent: Some(record.span),
                kind: Kind::Internal,
                start_us: recorded_us,
                end_us: closed_us.unwrap_or_else(|| self.tracer.now_us()),
                attributes: vec![
                    ("snapledger.snapshot", id(&part.snapshot)),
                    ("snapledger.channel.from", id(&channel.from)),
                    ("snapledger.channel.to", id(&part.process)),
                    (
                        "snapledger.channel.messages",
                        Value::Number(channel.messages()),
                    ),
                ],
                link: None,
                error: None,
            });
        }
        if std::mem::replace(&mut self.is_recorded, true) {
            return;
        }
        let closings = part.channels.iter().filter_map(|channel| channel.closing);
        let newest_us = closings.map(|closing| closing.time.wall_us()).max();
        let end_us = match part.is_finished() {
            true => newest_us.unwrap_or(recorded_us),
            false => self.tracer.now_us(),
        };
        self.tracer.end(Span {
            name: RECORD,
            context: record,
            parent: Some(self.trace.whole().span),
            kind: Kind::Internal,
            start_us: recorded_us,
            end_us,
            attributes: vec![
                ("snapledger.snapshot", id(&part.snapshot)),
                ("snapledger.process", id(&part.process)),
                ("snapledger.initiator", id(&part.initiator)),
                ("snapledger.position", Value::Number(part.state.position.0)),
                ("snapledger.new_bytes", Value::Number(part.state.new_bytes)),
                (
                    "snapledger.open_channels",
                    Value::Number(part.open.len() as u64),
                ),
            ],
            link: None,
            error: None,
        });
    }
}

impl Tracer {
    /// The own share in a snapshot; `None` if the snapshot is not traced.
    #[must_use]
    pub fn share(&self, snapshot: &SnapshotId) -> Option<Share> {
        let trace = Trace::of(self, snapshot);
        trace.is_sampled.then(|| Share {
            tracer: self.clone(),
            trace,
            is_recorded: false,
            closed: BTreeSet::new(),
        })
    }

    /// A part whose fetching begins now.
    #[must_use]
    pub fn fetching(&self, snapshot: &SnapshotId, process: &ProcessId) -> Fetch {
        Fetch {
            tracer: self.clone(),
            snapshot: snapshot.clone(),
            process: process.clone(),
            start_us: self.now_us(),
        }
    }

    /// A revision whose publication begins now; `is_first`: the snapshot has no revision yet.
    #[must_use]
    pub fn publishing(&self, is_first: bool) -> Published {
        Published {
            tracer: self.clone(),
            start_us: self.now_us(),
            is_first,
        }
    }
}
