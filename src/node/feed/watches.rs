//! What the feed learns by looking: revisions, pins, peers, channels and warnings. Looking keeps watchers out of the places where
//! these change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::NodeEvent;
use crate::history::vitals::ChannelEnd;
use crate::node::handle::Handle;
use crate::node::peers::PeerView;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};

/// The interval of looks, the same as that of greetings.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The interval at which sentences are told again of which only the figures have changed.
const FIGURES_EVERY: Duration = Duration::from_secs(60);
/// The number of revisions that are listed together.
const LISTED_TOGETHER: usize = 256;

/// What was seen at the last look.
struct Seen {
    revisions: u64,
    pins_arrived: u64,
    pinned: BTreeSet<SnapshotId>,
    peers: BTreeMap<ProcessId, Said>,
    channels: BTreeMap<ChannelId, Said>,
    warnings: Said,
}

/// Feeds what changes until the task is dropped.
pub(in crate::node) async fn follow(handle: Handle) {
    let mut arrivals = handle.shared.in_progress.arrivals();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::now(&handle);
    loop {
        tokio::select! {
            // The sender lives as long as the handle.
            Ok(()) = arrivals.changed() => seen.revisions(&handle),
            _ = looks.tick() => seen.look(&handle),
        }
    }
}

impl Seen {
    fn now(handle: &Handle) -> Self {
        let store = handle.store();
        let now = Instant::now();
        let peers = handle.peers().into_iter();
        let channels = channels(handle).into_iter();
        Self {
            revisions: store.history().revisions_arrived(),
            pins_arrived: store.retention().pins_arrived(),
            pinned: pinned(handle),
            peers: peers
                .map(|peer| (peer.process.clone(), Said::new(of_peer(&peer), now)))
                .collect(),
            channels: channels
                .map(|(channel, end)| (channel, Said::new(of_end(&end), now)))
                .collect(),
            warnings: Said::new(handle.warnings(), now),
        }
    }

    fn look(&mut self, handle: &Handle) {
        self.revisions(handle);
        self.pins(handle);
        let (feed, now) = (handle.feed(), Instant::now());
        for peer in handle.peers() {
            let said = self.peers.entry(peer.process.clone()).or_default();
            if said.is_news(of_peer(&peer), now) {
                feed.push(NodeEvent::Peer(Box::new(peer)));
            }
        }
        for (channel, end) in channels(handle) {
            let said = self.channels.entry(channel.clone()).or_default();
            if said.is_news(of_end(&end), now) {
                feed.push(NodeEvent::Channel { channel, end });
            }
        }
        let warnings = handle.warnings();
        if self.warnings.is_news(warnings.clone(), now) {
            feed.push(NodeEvent::Warnings(warnings));
        }
    }

    // A node that replicates a long history lists more than a watcher could follow; the rest comes with the next look.
    fn revisions(&mut self, handle: &Handle) {
        let history = handle.store().history();
        for came in history.revisions_after(self.revisions, LISTED_TOGETHER) {
            self.revisions += 1;
            handle
                .feed()
                .push(NodeEvent::SnapshotPublished(came.snapshot));
        }
    }

    fn pins(&mut self, handle: &Handle) {
        let arrived = handle.store().retention().pins_arrived();
        if arrived == self.pins_arrived {
            return;
        }
        self.pins_arrived = arrived;
        let pinned = pinned(handle);
        for snapshot in pinned.symmetric_difference(&self.pinned) {
            handle.feed().push(NodeEvent::SnapshotPinned {
                is_pinned: pinned.contains(snapshot),
                snapshot: snapshot.clone(),
            });
        }
        self.pinned = pinned;
    }
}

fn pinned(handle: &Handle) -> BTreeSet<SnapshotId> {
    let pins = handle.store().retention().pins().into_iter();
    let pinned = pins.filter(|(_, pin)| pin.pinned);
    pinned.map(|(snapshot, _)| snapshot).collect()
}

fn of_peer(peer: &PeerView) -> Vec<String> {
    let state = format!("{:?}", peer.state);
    [Some(state), peer.error.clone()]
        .into_iter()
        .flatten()
        .collect()
}

fn of_end(end: &ChannelEnd) -> Vec<String> {
    let state = end.state.as_str().to_owned();
    [Some(state), end.error.clone()]
        .into_iter()
        .flatten()
        .collect()
}

/// What watchers were told last of one subject.
#[derive(Debug, Default)]
struct Said {
    sentences: Vec<String>,
    /// When; `None` if nothing was said yet.
    at: Option<Instant>,
}

impl Said {
    fn new(sentences: Vec<String>, now: Instant) -> Self {
        Self {
            sentences,
            at: Some(now),
        }
    }

    // Whether these are to be told now. Sentences with figures, such as the difference of two clocks, are others at every look:
    // if only figures differ, they wait.
    fn is_news(&mut self, sentences: Vec<String>, now: Instant) -> bool {
        let is_due = match self.at {
            None => true,
            Some(_) if sentences == self.sentences => false,
            Some(at) if now.saturating_duration_since(at) >= FIGURES_EVERY => true,
            Some(_) => {
                let before = self.sentences.iter().map(|sentence| kind(sentence));
                !before.eq(sentences.iter().map(|sentence| kind(sentence)))
            }
        };
        if is_due {
            *self = Self::new(sentences, now);
        }
        is_due
    }
}

// A sentence without its figures; ids with digits are no figures.
fn kind(sentence: &str) -> Vec<&str> {
    let is_figure = |word: &&str| {
        let digits = word.trim_matches(|c: char| c.is_ascii_punctuation());
        digits.parse::<f64>().is_ok()
    };
    let words = sentence.split_whitespace();
    words.filter(|word| !is_figure(word)).collect()
}

fn channels(handle: &Handle) -> BTreeMap<ChannelId, ChannelEnd> {
    let me = &handle.config().me;
    let topology = &handle.config().topology;
    let channel = |from: &ProcessId, to: &ProcessId| {
        let end = handle.end(from, to);
        let (from, to) = (from.clone(), to.clone());
        (ChannelId { from, to }, end)
    };
    let outgoing = topology.outgoing(me).map(|to| channel(me, to));
    let incoming = topology.incoming(me).map(|from| channel(from, me));
    outgoing.chain(incoming).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this, one wrong clock fills the feed with what is no news, and watchers ask the whole cluster at every look.
    #[test]
    fn changed_figures_wait_and_everything_else_is_told_at_once() {
        let sentences = |seconds: &str, process: &str| {
            let clock =
                format!("the wall clock of {process} is {seconds} s behind; it is -1.500 s");
            vec![clock, "3 revisions are damaged".to_owned()]
        };
        let start = Instant::now();
        let mut said = Said::default();
        assert!(
            said.is_news(sentences("12.345", "n1"), start),
            "it is the first"
        );
        let soon = start + FIGURES_EVERY / 2;
        assert!(!said.is_news(sentences("12.345", "n1"), soon));
        assert!(!said.is_news(sentences("12.346", "n1"), soon));
        assert!(
            said.is_news(sentences("12.346", "n2"), soon),
            "of another process"
        );
        let late = soon + FIGURES_EVERY;
        assert!(
            !said.is_news(sentences("12.346", "n2"), late),
            "nothing differs"
        );
        assert!(said.is_news(sentences("12.347", "n2"), late));
        assert!(!said.is_news(sentences("12.348", "n2"), late));
        assert!(
            said.is_news(vec![sentences("12.348", "n2").remove(0)], late),
            "one is over"
        );
        assert!(said.is_news(Vec::new(), late));
        assert!(!said.is_news(Vec::new(), late + FIGURES_EVERY));
    }
}
