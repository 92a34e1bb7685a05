//! The connections of the channels of a node: their state for status calls and logs, the stream that may use the receiving end
//! of each, and the peers found to contradict.

use std::collections::BTreeMap;

use super::Closed;
use super::stream_slots::StreamSlots;
use crate::process::ids::ChannelId;

/// The state of the connection of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Not connected; the sending end keeps trying.
    #[default]
    Closed,
    /// A stream is open.
    Open,
    /// A stream is open, and its received messages wait until the clocks agree; the sentence gives the reason.
    WaitingForClock(String),
    /// The two ends contradict each other; the sentence gives the reason.
    Stopped(String),
}

impl LinkState {
    /// Whether a stream is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open | Self::WaitingForClock(_))
    }

    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::WaitingForClock(_) => "waiting_for_clock",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// The connections of all channels of a node.
#[derive(Debug, Default)]
pub struct LinkTable {
    links: BTreeMap<ChannelId, Link>,
    slot_changes: u64,
}

#[derive(Debug, Default)]
struct Link {
    state: LinkState,
    /// The number of streams so far, so that the end of an old stream does not close its successor.
    generation: u64,
    /// Why a second copy of the peer's store was refused while the stream was open.
    turned_away: Option<String>,
    contradiction: Option<Contradiction>,
    /// The run of the peer in the newest agreement.
    agreed: Option<u64>,
    slots: StreamSlots,
}

/// A run of the peer whose store contradicts this one on a channel.
#[derive(Debug)]
struct Contradiction {
    run: u64,
    why: String,
}

impl LinkTable {
    /// The state of a channel.
    #[must_use]
    pub fn get(&self, channel: &ChannelId) -> LinkState {
        let link = self.links.get(channel);
        link.map(|link| link.state.clone()).unwrap_or_default()
    }

    /// The fault of a channel, or of a second copy of the peer's store.
    #[must_use]
    pub fn error(&self, channel: &ChannelId) -> Option<String> {
        let link = self.links.get(channel)?;
        match &link.state {
            LinkState::Stopped(why) | LinkState::WaitingForClock(why) => Some(why.clone()),
            LinkState::Open | LinkState::Closed => link.turned_away.clone(),
        }
    }

    /// The stopped channels, with the reasons.
    #[must_use]
    pub fn stopped(&self) -> Vec<(ChannelId, String)> {
        let stopped = self
            .links
            .iter()
            .filter_map(|(channel, link)| match &link.state {
                LinkState::Stopped(why) => Some((channel.clone(), why.clone())),
                _ => None,
            });
        stopped.collect()
    }

    /// The channels that are stopped or whose messages wait for the clock, each as a sentence.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let sentence = |(channel, link): (&ChannelId, &Link)| match &link.state {
            LinkState::WaitingForClock(why) => Some(format!("a message on {channel} waits: {why}")),
            LinkState::Stopped(why) => Some(format!("channel {channel} is stopped: {why}")),
            _ => None,
        };
        self.links.iter().filter_map(sentence).collect()
    }

    /// Records an open stream. Returns its number for [`LinkTable::end`].
    #[must_use]
    pub fn open(&mut self, channel: &ChannelId) -> u64 {
        let link = self.link(channel);
        link.generation += 1;
        link.turned_away = None;
        link.contradiction = None;
        if link.state != LinkState::Open {
            tracing::debug!(%channel, "channel open");
        }
        link.state = LinkState::Open;
        link.generation
    }

    /// Records the end of the stream with this number, unless a newer one is open.
    pub fn end(&mut self, channel: &ChannelId, generation: u64, why: &Closed) {
        let link = self.link(channel);
        if link.generation == generation {
            link.close(channel, why);
        }
    }

    /// Records that a stream could not be opened. An open stream is not affected.
    pub fn fail(&mut self, channel: &ChannelId, why: &Closed) {
        let link = self.link(channel);
        match (link.state.is_open(), why) {
            (true, Closed::Stopped(why)) => {
                if link.turned_away.is_none() {
                    tracing::error!(%channel, why, "refused; the channel continues");
                }
                link.turned_away = Some(why.clone());
            }
            (true, Closed::Broken(_)) => {}
            _ => link.close(channel, why),
        }
    }

    /// Records that the received messages of an open stream wait for the clock.
    pub(super) fn wait_for_clock(&mut self, channel: &ChannelId, why: String) {
        let link = self.link(channel);
        if link.state == LinkState::Open {
            tracing::warn!(%channel, why, "messages wait for the clock");
        }
        if link.state.is_open() {
            link.state = LinkState::WaitingForClock(why);
        }
    }

    /// Records that no messages wait for the clock any more.
    pub(super) fn go_on(&mut self, channel: &ChannelId) {
        let link = self.link(channel);
        if matches!(link.state, LinkState::WaitingForClock(_)) {
            tracing::info!(%channel, "messages no longer wait for the clock");
            link.state = LinkState::Open;
        }
    }

    /// Records that one run of a peer contradicts this process on a channel. Evicts the streams of the reversed channel:
    /// otherwise the wrong store would take messages from it that the right one then lacks.
    pub fn contradict(&mut self, channel: &ChannelId, run: u64, why: &str) {
        let link = self.link(channel);
        let is_news = link.contradiction.as_ref().map(|found| found.run) != Some(run);
        let why = why.to_owned();
        link.contradiction = Some(Contradiction { run, why });
        if is_news {
            self.link(&channel.reversed()).slots.evict();
            self.slot_changes += 1;
        }
    }

    /// Why a channel must not continue with this run of the peer, although only the reversed channel was found to contradict.
    #[must_use]
    pub(super) fn held(&self, channel: &ChannelId, run: u64) -> Option<Closed> {
        let reversed = channel.reversed();
        let found = self.links.get(&reversed)?.contradiction.as_ref()?;
        let sentence = || format!("held while {reversed} is stopped: {}", found.why);
        (found.run == run).then(|| Closed::Stopped(sentence()))
    }

    /// Records that both ends agree, in this run of the peer.
    pub(super) fn agree(&mut self, channel: &ChannelId, run: u64) {
        self.link(channel).agreed = Some(run);
    }

    /// Whether the newest agreement was with this run of the peer. A run loses nothing, so if it seems to contradict, its hello
    /// was sent before a newer stream delivered more.
    #[must_use]
    pub(super) fn has_agreed(&self, channel: &ChannelId, run: u64) -> bool {
        let link = self.links.get(channel);
        link.is_some_and(|link| link.agreed == Some(run))
    }

    /// Evicts the stream that uses the receiving end and queues behind it. Returns the number of the slot.
    pub(super) fn enter(&mut self, channel: &ChannelId) -> u64 {
        self.slot_changes += 1;
        self.link(channel).slots.enter()
    }

    /// Releases a slot at the receiving end.
    pub(super) fn leave(&mut self, channel: &ChannelId, number: u64) {
        self.slot_changes += 1;
        self.link(channel).slots.leave(number);
    }

    /// Whether the stream with this slot may use the receiving end.
    pub(super) fn is_first(&self, channel: &ChannelId, number: u64) -> bool {
        let link = self.links.get(channel);
        link.is_some_and(|link| link.slots.is_first(number))
    }

    /// A ticket for a stream at the sending end. It must be drawn before [`LinkTable::held`] is called, so that a contradiction
    /// found in between ends the stream.
    pub(super) fn ticket(&mut self, channel: &ChannelId) -> u64 {
        self.link(channel).slots.ticket()
    }

    /// Whether a stream must end.
    pub(super) fn is_evicted(&self, channel: &ChannelId, number: u64) -> bool {
        let link = self.links.get(channel);
        link.is_some_and(|link| link.slots.is_evicted(number))
    }

    /// The number of changes after which waiting and open streams must check their slots.
    #[must_use]
    pub fn slot_changes(&self) -> u64 {
        self.slot_changes
    }

    fn link(&mut self, channel: &ChannelId) -> &mut Link {
        self.links.entry(channel.clone()).or_default()
    }
}

impl Link {
    // A stopped channel is tried every second and logged once, even if its figures change. A connection failure in between does
    // not clear the stop; only opening the channel does.
    fn close(&mut self, channel: &ChannelId, why: &Closed) {
        let state = match why {
            Closed::Broken(_) if matches!(self.state, LinkState::Stopped(_)) => return,
            Closed::Broken(_) => LinkState::Closed,
            Closed::Stopped(sentence) => LinkState::Stopped(sentence.clone()),
        };
        if self.state.as_str() != state.as_str() {
            match why {
                Closed::Broken(why) => tracing::debug!(%channel, why, "channel closed"),
                Closed::Stopped(why) => tracing::error!(%channel, why, "channel stopped"),
            }
        }
        self.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::ProcessId;

    fn channel() -> ChannelId {
        let process = |id| ProcessId::parse(id).expect("a valid id");
        ChannelId {
            from: process("p"),
            to: process("q"),
        }
    }

    // Without this, a status call during a short connection failure shows no fault, and the log repeats itself.
    #[test]
    fn a_stopped_channel_stays_so_until_it_opens() {
        let (mut links, channel) = (LinkTable::default(), channel());
        let stopped = Closed::Stopped("they contradict".to_owned());
        let broken = Closed::Broken("nobody answers".to_owned());
        links.fail(&channel, &stopped);
        links.fail(&channel, &broken);
        let shown = LinkState::Stopped("they contradict".to_owned());
        assert_eq!(links.get(&channel), shown);
        assert_eq!(links.error(&channel).as_deref(), Some("they contradict"));
        let generation = links.open(&channel);
        assert_eq!(links.error(&channel), None);
        links.end(&channel, generation, &broken);
        assert_eq!(links.get(&channel), LinkState::Closed);
    }

    #[test]
    fn a_contradiction_holds_the_other_direction_and_evicts_its_streams_once() {
        let (mut links, channel) = (LinkTable::default(), channel());
        let reversed = channel.reversed();
        let ticket = links.ticket(&reversed);
        links.contradict(&channel, 7, "they differ");
        assert!(links.is_evicted(&reversed, ticket));
        assert!(links.held(&reversed, 7).is_some());
        assert_eq!(links.held(&reversed, 8), None, "another run");
        assert_eq!(links.held(&channel, 7), None, "it says so by itself");
        let (ticket, changes) = (links.ticket(&reversed), links.slot_changes());
        links.contradict(&channel, 7, "they differ by more");
        assert!(!links.is_evicted(&reversed, ticket));
        assert_eq!(links.slot_changes(), changes);
    }
}
