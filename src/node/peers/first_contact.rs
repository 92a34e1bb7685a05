//! First contact: writes of keys wait until the peers are recognized. The newest stamp of a key wins, and a process with a new
//! store starts its stamps from the beginning until it has recognized its peers. Before that, its write could lose against an
//! older one, and the client that was told of success would never see it. So a write waits until every live peer is recognized,
//! which moves the clock past theirs. A peer that does not answer is not waited for; otherwise one dead peer would block all
//! writes of keys.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::node::error::Unavailable;
use crate::node::handle::Handle;
use crate::process::ids::{ChannelId, ProcessId};
use crate::process::input::{Input, Operation};
use crate::transport::link::LinkState;

/// The maximum waiting time of a write.
const MEET_MAX: Duration = Duration::from_secs(5);
/// The interval at which a waiting write is checked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Handle {
    /// Delays writes of keys until this process has recognized its live peers.
    ///
    /// # Errors
    /// [`Unavailable::NotYet`]: one of them refuses this process, or was not recognized in time.
    pub(in crate::node) async fn meet_before(&self, inputs: &[Input]) -> Result<(), Unavailable> {
        let handshakes = &self.shared.handshakes;
        // The fast path, taken by nearly every operation.
        if handshakes.is_acquainted() || !inputs.iter().any(writes_a_key) {
            return Ok(());
        }
        let until = Instant::now() + MEET_MAX;
        loop {
            let mut strangers = handshakes.strangers();
            strangers.retain(|peer| !self.shared.peers.is_gone(peer));
            let Some(peer) = strangers.first() else {
                return Ok(());
            };
            let refused = strangers.iter().find_map(|peer| self.refused_by(peer));
            let late = || {
                format!(
                    "no handshake with process {peer:?} within {} s",
                    MEET_MAX.as_secs()
                )
            };
            if let Some(why) = refused.or_else(|| (Instant::now() >= until).then(late)) {
                let sentence = format!(
                    "this store is new, and a write could have an older stamp than an existing one: {why}"
                );
                return Err(Unavailable::NotYet(sentence));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    // The reason why a channel with a peer is stopped.
    fn refused_by(&self, peer: &ProcessId) -> Option<String> {
        let me = &self.config().me;
        [(me, peer), (peer, me)].into_iter().find_map(|(from, to)| {
            let (from, to) = (from.clone(), to.clone());
            match self.link(&ChannelId { from, to }) {
                LinkState::Stopped(why) => Some(why),
                _ => None,
            }
        })
    }
}

fn writes_a_key(input: &Input) -> bool {
    let Input::Operation { operation, .. } = input else {
        return false;
    };
    matches!(operation, Operation::Put { .. })
}
