//! The network under the channels: streams are FIFO, slow, and can break. A frame is the bytes of the real wire codec. When a
//! stream breaks, some frames in flight still arrive, even after a newer stream has opened; nothing is reordered within one
//! stream.

use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;
use snapledger::process::ids::{ProcessId, Seq};
use snapledger::proto::snapledger::{Ack, Frame, ack, frame};

use crate::plan::{MS, Plan};
use crate::receiving::ReceivingEnd;
use crate::world::{Event, Life, Place, World};

/// A directed channel: from, to.
pub(crate) type Route = (Place, Place);

/// One stream of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId {
    pub(crate) route: Route,
    pub(crate) number: u64,
}

/// The streams of one channel, including old ones whose frames may still arrive.
#[derive(Default)]
pub(crate) struct Channel {
    /// The newest stream.
    pub(crate) current: u64,
    pub(crate) streams: BTreeMap<u64, Stream>,
    /// The newest message ever put into a frame.
    pub(crate) transmitted: Seq,
}

pub(crate) struct Stream {
    pub(crate) sender: Life,
    pub(crate) receiver: Life,
    pub(crate) forward: Pipe,
    pub(crate) backward: Pipe,
    pub(crate) end: ReceivingEnd,
    is_broken: bool,
    /// The earliest time at which frames in flight arrive after a break.
    not_before: u64,
}

/// The frames in flight in one direction.
#[derive(Default)]
pub(crate) struct Pipe {
    /// The frames; `None` is the end of the stream.
    under_way: VecDeque<Option<Vec<u8>>>,
    /// The arrival time of the newest frame; no frame arrives before one that was sent earlier.
    last: u64,
}

impl Channel {
    /// The channels of the plan.
    pub(crate) fn all(plan: &Plan) -> BTreeMap<Route, Self> {
        let place = |id: &ProcessId| plan.ids.iter().position(|known| known == id);
        let channels = plan.topology.channels();
        let routes =
            channels.filter_map(|channel| Some((place(&channel.from)?, place(&channel.to)?)));
        routes.map(|route| (route, Self::default())).collect()
    }

    /// Drops unread frames after the sender was put back to an older store: they are lost with its connections.
    pub(crate) fn put_back(&mut self) {
        for stream in self.streams.values_mut() {
            stream.end.unread.clear();
        }
    }
}

impl World {
    pub(crate) fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        let channel = self.channels.get_mut(&id.route)?;
        channel.streams.get_mut(&id.number)
    }

    /// Whether the stream is the newest of its channel and unbroken.
    pub(crate) fn is_current(&self, id: StreamId) -> bool {
        let channel = &self.channels[&id.route];
        let stream = channel.streams.get(&id.number);
        channel.current == id.number && stream.is_some_and(|stream| !stream.is_broken)
    }

    /// Opens a stream, if the two processes reach each other.
    pub(crate) fn open_stream(&mut self, sender: Life, route: Route) -> Option<StreamId> {
        let receiver = self
            .life(route.1)
            .filter(|_| self.reach(route.0, route.1))?;
        let end = ReceivingEnd::new(self.id(route.1).clone(), &self.plan);
        let channel = self.channels.entry(route).or_default();
        channel.current += 1;
        let number = channel.current;
        channel.streams.retain(|_, stream| !stream.is_over());
        let stream = Stream {
            sender,
            receiver,
            forward: Pipe::default(),
            backward: Pipe::default(),
            end,
            is_broken: false,
            not_before: 0,
        };
        channel.streams.insert(number, stream);
        Some(StreamId { route, number })
    }

    /// Puts a frame into the stream; it arrives after those before it.
    pub(crate) fn send_frame(&mut self, id: StreamId, body: frame::Body) {
        let bytes = Frame { body: Some(body) }.encode_to_vec();
        let due = self.now + self.net_delay();
        let stream = self.stream(id).filter(|stream| !stream.is_broken);
        if let Some(at) = stream.map(|stream| stream.forward.push(due, Some(bytes))) {
            self.at(at, Event::Frame(id));
        }
    }

    /// Puts an answer into the stream.
    pub(crate) fn send_ack(&mut self, id: StreamId, body: ack::Body) {
        self.push_back(id, Some(Ack { body: Some(body) }.encode_to_vec()));
    }

    /// Closes the stream from the receiving end; its answers still arrive.
    pub(crate) fn close_stream(&mut self, id: StreamId) {
        self.push_back(id, None);
        if let Some(stream) = self.stream(id) {
            stream.is_broken = true;
        }
    }

    fn push_back(&mut self, id: StreamId, answer: Option<Vec<u8>>) {
        let due = self.now + self.net_delay();
        let stream = self.stream(id).filter(|stream| !stream.is_broken);
        if let Some(at) = stream.map(|stream| stream.backward.push(due, answer)) {
            self.at(at, Event::Ack(id));
        }
    }

    /// Breaks a stream: all answers and some frames in flight are lost, the other frames arrive late. Both ends notice, the
    /// receiving end possibly only after a newer stream has opened.
    pub(crate) fn break_stream(&mut self, id: StreamId) {
        let late = usize::try_from(self.random.below(4)).unwrap_or(0);
        let not_before = self.now + self.random.below(800 * MS);
        let over = not_before + self.random.below(3_000 * MS);
        let noticed = self.now + self.random.below(400 * MS);
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_broken) else {
            return;
        };
        stream.is_broken = true;
        stream.not_before = not_before;
        stream.backward.under_way.clear();
        stream.backward.push(noticed, None);
        stream.forward.under_way.truncate(late);
        let arriving = stream.forward.under_way.len();
        stream.forward.push(over, None);
        let (sender, is_agreed) = (stream.sender, stream.end.is_asked_to_agree());
        if arriving == 0 && is_agreed && self.is_sending(sender, id) {
            self.sometimes.saw("agreement lost with its stream");
        }
        self.trace
            .say(|| format!("break {id:?}, {arriving} frames still arrive"));
        for _ in 0..arriving {
            self.at(not_before, Event::Frame(id));
        }
        self.at(over, Event::Frame(id));
        self.at(noticed, Event::Ack(id));
    }

    /// Breaks every stream from or to a program.
    pub(crate) fn break_streams_of_life(&mut self, life: Life) {
        let mut streams = Vec::new();
        for (route, channel) in &self.channels {
            for (number, stream) in &channel.streams {
                if !stream.is_broken && (stream.sender == life || stream.receiver == life) {
                    streams.push(StreamId {
                        route: *route,
                        number: *number,
                    });
                }
            }
        }
        for id in streams {
            self.break_stream(id);
        }
    }

    /// Breaks every stream from or to a process.
    pub(crate) fn break_streams_of(&mut self, place: Place) {
        let touches = |route: &Route| route.0 == place || route.1 == place;
        let routes: Vec<_> = self.channels.keys().copied().filter(touches).collect();
        for route in routes {
            let number = self.channels[&route].current;
            self.break_stream(StreamId { route, number });
        }
    }
}

impl Stream {
    fn is_over(&self) -> bool {
        self.is_broken && self.forward.under_way.is_empty() && self.end.is_over()
    }

    /// The frame that arrives at the receiving end now.
    pub(crate) fn arrived(&mut self, now: u64) -> Option<Option<Vec<u8>>> {
        let is_early = now < self.not_before;
        let is_end = self.forward.under_way.front().is_some_and(Option::is_none);
        match is_early || (is_end && now < self.forward.last) {
            true => None,
            false => self.forward.under_way.pop_front(),
        }
    }

    /// The answer that arrives at the sending end now.
    pub(crate) fn answered(&mut self) -> Option<Option<Vec<u8>>> {
        self.backward.under_way.pop_front()
    }
}

impl Pipe {
    fn push(&mut self, due: u64, frame: Option<Vec<u8>>) -> u64 {
        self.last = self.last.max(due);
        self.under_way.push_back(frame);
        self.last
    }
}
