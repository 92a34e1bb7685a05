//! How the channels of a node are connected, for status calls and logs; and who may use the receiving end of one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Closed;
use super::stream_slot::{Eviction, StreamSlot, StreamSlots};
use crate::process::ids::ChannelId;

/// The connection under one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Not connected; it is tried again and again.
    #[default]
    Closed,
    /// A stream is open.
    Open,
    /// The same, and what came over it waits until the clocks agree; the sentence says why.
    WaitingForClock(String),
    /// The two ends do not belong together; the sentence says why.
    Stopped(String),
}

impl LinkState {
    /// Whether a stream is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open | Self::WaitingForClock(_))
    }

    /// The stable name on the public interface.
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
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<Mutex<BTreeMap<ChannelId, Link>>>);

#[derive(Debug, Default)]
struct Link {
    state: LinkState,
    /// Counts the streams, so that the end of an old one does not close its successor.
    generation: u64,
    /// Why somebody was turned away while the stream was open: a second copy of the peer's store.
    turned_away: Option<String>,
    /// The run of the peer whose store was found to contradict this one on this channel, and the sentence.
    contradiction: Option<(u64, String)>,
    /// The run of the peer that was the last to agree with this end.
    agreed: Option<u64>,
    entrance: StreamSlots,
}

impl Links {
    /// How a channel is connected.
    #[must_use]
    pub fn get(&self, channel: &ChannelId) -> LinkState {
        let links = self.links();
        links
            .get(channel)
            .map(|link| link.state.clone())
            .unwrap_or_default()
    }

    /// What is wrong with a channel, or with somebody who wanted to use it.
    #[must_use]
    pub fn error(&self, channel: &ChannelId) -> Option<String> {
        let links = self.links();
        let link = links.get(channel)?;
        match &link.state {
            LinkState::Stopped(why) | LinkState::WaitingForClock(why) => Some(why.clone()),
            LinkState::Open | LinkState::Closed => link.turned_away.clone(),
        }
    }

    /// The channels that are stopped, and why.
    #[must_use]
    pub fn stopped(&self) -> Vec<(ChannelId, String)> {
        let links = self.links();
        let stopped = links
            .iter()
            .filter_map(|(channel, link)| match &link.state {
                LinkState::Stopped(why) => Some((channel.clone(), why.clone())),
                _ => None,
            });
        stopped.collect()
    }

    /// Takes note that what came over an open stream waits for the clock.
    pub fn wait_for_clock(&self, channel: &ChannelId, why: String) {
        let mut links = self.links();
        let link = links.entry(channel.clone()).or_default();
        if link.state == LinkState::Open {
            tracing::warn!(%channel, why, "messages wait for the clock");
        }
        if link.state.is_open() {
            link.state = LinkState::WaitingForClock(why);
        }
    }

    /// Takes note that nothing waits for the clock any more.
    pub fn go_on(&self, channel: &ChannelId) {
        let mut links = self.links();
        if let Some(link) = links.get_mut(channel)
            && matches!(link.state, LinkState::WaitingForClock(_))
        {
            tracing::info!(%channel, "messages wait for the clock no more");
            link.state = LinkState::Open;
        }
    }

    /// The channels that are stopped, or whose messages wait for the clock, each in a sentence.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let links = self.links();
        let sentence = |(channel, link): (&ChannelId, &Link)| match &link.state {
            LinkState::WaitingForClock(why) => Some(format!("a message on {channel} waits: {why}")),
            LinkState::Stopped(why) => Some(format!("channel {channel} is stopped: {why}")),
            _ => None,
        };
        links.iter().filter_map(sentence).collect()
    }

    /// Asks the stream that uses the receiving end to leave, and waits until it has.
    pub async fn enter(&self, channel: &ChannelId) -> StreamSlot {
        let mut place = self.entrance(channel).come();
        place.first().await;
        place
    }

    /// For a stream that uses the sending end of a channel. Taken before [`Links::held`] is asked: what is found to
    /// contradict in between then ends the stream.
    #[must_use]
    pub fn eviction(&self, channel: &ChannelId) -> Eviction {
        self.entrance(channel).eviction()
    }

    /// Takes note that the store of a peer, in one run of it, contradicts this one on a channel: the channel the
    /// other way is not to go on either. Else the wrong store would soon have taken from it what the right one lacks.
    pub fn contradict(&self, channel: &ChannelId, run: u64, why: &str) {
        let mut links = self.links();
        let link = links.entry(channel.clone()).or_default();
        let is_news = link.contradiction.as_ref().map(|found| found.0) != Some(run);
        link.contradiction = Some((run, why.to_owned()));
        if !is_news {
            return;
        }
        let reverse = links.entry(channel.reversed()).or_default();
        reverse.entrance.want();
    }

    /// Takes note that both ends agree, in this run of the peer.
    pub fn agree(&self, channel: &ChannelId, run: u64) {
        let mut links = self.links();
        links.entry(channel.clone()).or_default().agreed = Some(run);
    }

    /// Whether this run of the peer was the last to agree. It goes on from there and forgets nothing: where it seems
    /// to contradict now, its hello was under way while a newer stream delivered.
    #[must_use]
    pub fn has_agreed(&self, channel: &ChannelId, run: u64) -> bool {
        let links = self.links();
        links
            .get(channel)
            .is_some_and(|link| link.agreed == Some(run))
    }

    /// Why a channel is not to go on with this run of the peer, though it is not known to contradict by itself.
    #[must_use]
    pub fn held(&self, channel: &ChannelId, run: u64) -> Option<Closed> {
        let reversed = channel.reversed();
        let links = self.links();
        let (found, why) = links.get(&reversed)?.contradiction.as_ref()?;
        let sentence = || format!("held while {reversed} is stopped: {why}");
        (*found == run).then(|| Closed::Stopped(sentence()))
    }

    fn entrance(&self, channel: &ChannelId) -> StreamSlots {
        let mut links = self.links();
        links.entry(channel.clone()).or_default().entrance.clone()
    }

    /// Takes note of an open stream; the number is for [`Links::end`].
    #[must_use]
    pub fn open(&self, channel: &ChannelId) -> u64 {
        let mut links = self.links();
        let link = links.entry(channel.clone()).or_default();
        link.generation += 1;
        link.turned_away = None;
        link.contradiction = None;
        if link.state != LinkState::Open {
            tracing::debug!(%channel, "channel open");
        }
        link.state = LinkState::Open;
        link.generation
    }

    /// Takes note of the end of the stream with this number, unless a newer one is open.
    pub fn end(&self, channel: &ChannelId, generation: u64, why: &Closed) {
        let mut links = self.links();
        let link = links.entry(channel.clone()).or_default();
        if link.generation == generation {
            link.close(channel, why);
        }
    }

    /// Takes note of a stream that was never opened. One that is open goes on.
    pub fn fail(&self, channel: &ChannelId, why: &Closed) {
        let mut links = self.links();
        let link = links.entry(channel.clone()).or_default();
        match (link.state.is_open(), why) {
            (true, Closed::Stopped(why)) => {
                if link.turned_away.is_none() {
                    tracing::error!(%channel, why, "turned away; the channel goes on");
                }
                link.turned_away = Some(why.clone());
            }
            (true, Closed::Broken(_)) => {}
            _ => link.close(channel, why),
        }
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    // A channel that stays stopped is tried every second: it is logged once, though its figures may move on. That a peer
    // cannot be reached in between makes nothing good; only a channel that opens does.
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

    // Without this, a peer that reconnects while its stream before is being set up waits for that one to time out.
    #[tokio::test]
    async fn who_comes_while_another_still_waits_for_its_turn_ends_that_one() {
        let (links, channel) = (Links::default(), channel());
        let first = links.enter(&channel).await;
        let mut second = Box::pin(links.enter(&channel));
        let mut third = Box::pin(links.enter(&channel));
        for waiting in [&mut second, &mut third] {
            tokio::select! {
                biased;
                _ = waiting => unreachable!("the first is still there"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(first);
        let mut second = second.await;
        second.evicted().await;
        drop(second);
        third.await;
    }

    fn channel() -> ChannelId {
        let process = |id| ProcessId::parse(id).expect("a valid id");
        ChannelId {
            from: process("p"),
            to: process("q"),
        }
    }

    // Without this, whoever looks while the peer is away for a moment sees nothing wrong, and the log repeats itself.
    #[test]
    fn what_is_stopped_stays_so_until_the_channel_opens() {
        let (links, channel) = (Links::default(), channel());
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
}
