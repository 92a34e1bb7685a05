//! Turns of an idle process that only advance its clock. An instant of the cluster can be restored and audited from the archive once
//! every journal there reaches it; without these turns the newest such instant would be the last turn of the quietest process.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::node::handle::Handle;
use crate::process::clock::Hlc;
use crate::process::command::Advance;

/// An interval is looked at so many times, at most this far apart.
const LOOKS_PER_INTERVAL: u32 = 10;
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);

/// Starts the task: nothing is journaled for longer than the interval, plus a look.
pub(in crate::node) fn spawn(tasks: &mut JoinSet<()>, node: &Handle, every: Duration) {
    let node = node.clone();
    let look_every = (every / LOOKS_PER_INTERVAL).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
    let every_us = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
    tasks.spawn(async move {
        loop {
            sleep(look_every).await;
            let wall = node.shared.peers.wall();
            let now_us = wall.wall_us();
            let newest_us = node.shared.clocks.newest().time.wall_us();
            if !wall.is_settled() || now_us.saturating_sub(newest_us) < every_us {
                continue;
            }
            let time = Hlc::at(now_us);
            // What is refused now is asked for again.
            let advanced = node.shared.queue.ask_from_within(Advance { time }).await;
            if let Err(error) = advanced {
                tracing::debug!(%error, "the clock is not advanced for the archive yet");
            }
        }
    });
}
