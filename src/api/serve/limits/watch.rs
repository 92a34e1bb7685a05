//! When a connection is to be closed: it is idle for too long, its client takes nothing of the answers it has asked for,
//! or it holds a reserved place and no peer uses it.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::usage::ConnectionUsage;
use super::{IDLE, IDLE_CROWDED, STALL, TRIAL};
use crate::node::RefusalReason;

/// The time between two looks at a connection.
const LOOK: Duration = Duration::from_secs(2);

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    GoesOn,
    /// In order: nothing is in progress.
    Idle,
    Refused(RefusalReason),
}

// `unchanged` is the time since the last change.
fn verdict(usage: &ConnectionUsage, age: Duration, unchanged: Duration) -> Verdict {
    if usage.place.is_on_trial() && age > TRIAL {
        return Verdict::Refused(RefusalReason::Connections);
    }
    if usage.progress.owed.load(Ordering::Relaxed) > 0 && unchanged > STALL {
        return Verdict::Refused(RefusalReason::Stalled);
    }
    let is_crowded = usage.place.is_crowded();
    let patience = match is_crowded {
        true => IDLE_CROWDED,
        false => IDLE,
    };
    match !usage.progress.is_working(is_crowded) && unchanged > patience {
        true => Verdict::Idle,
        false => Verdict::GoesOn,
    }
}

/// What was seen of a connection at the last look.
struct Watch {
    begun: Instant,
    changes: u64,
    since: Instant,
}

impl Watch {
    fn new() -> Self {
        let begun = Instant::now();
        Self {
            begun,
            changes: 0,
            since: begun,
        }
    }

    fn look(&mut self, usage: &ConnectionUsage) -> Verdict {
        let changes = usage.progress.changes.load(Ordering::Relaxed);
        if changes != self.changes {
            self.changes = changes;
            self.since = Instant::now();
        }
        verdict(usage, self.begun.elapsed(), self.since.elapsed())
    }
}

/// Runs a connection until it ends or is to be closed.
pub(in crate::api::serve) async fn watched(
    connection: impl Future<Output = hyper::Result<()>>,
    usage: Arc<ConnectionUsage>,
) {
    let mut connection = pin!(connection);
    let mut watch = Watch::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            _ = looks.tick() => match watch.look(&usage) {
                Verdict::GoesOn => {}
                Verdict::Idle if !usage.progress.is_ending.swap(true, Ordering::Relaxed) => {
                    usage.count(RefusalReason::Idle);
                }
                // The connection has not ended although it reads nothing more.
                Verdict::Idle => return,
                Verdict::Refused(reason) => {
                    usage.count(reason);
                    tracing::debug!(?reason, "a connection was closed");
                    return;
                }
            }
        }
    }
}

/// The reading half of a connection. It ends as if the client had closed it when the connection is to end in order.
pub(in crate::api::serve) struct Ending<R> {
    pub(in crate::api::serve) inner: R,
    pub(in crate::api::serve) usage: Arc<ConnectionUsage>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Ending<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.usage.progress.is_ending.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.inner).poll_read(context, buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Resource;
    use super::super::places::Places;
    use super::*;
    use crate::node::Refusals;

    const LATER: Duration = Duration::from_secs(1);

    fn one_of(for_all: usize) -> Arc<ConnectionUsage> {
        let places = Places::new(for_all, 4, Refusals::default());
        let usage = places.take([192, 0, 2, 1].into());
        usage.expect("there is a place")
    }

    #[test]
    fn a_connection_ends_when_it_is_idle_or_stuck_and_not_while_it_works() {
        let usage = one_of(9);
        let after = |unchanged| verdict(&usage, Duration::MAX, unchanged);
        assert_eq!(after(IDLE), Verdict::GoesOn);
        assert_eq!(after(IDLE + LATER), Verdict::Idle);
        usage.progress.request_begins(false);
        assert_eq!(
            after(Duration::MAX),
            Verdict::GoesOn,
            "an answer may take its time"
        );
        usage.progress.owes();
        assert_eq!(after(STALL), Verdict::GoesOn);
        let stalled = Verdict::Refused(RefusalReason::Stalled);
        assert_eq!(after(STALL + LATER), stalled);
        usage.progress.is_taken();
        assert_eq!(after(Duration::MAX), Verdict::GoesOn);
    }

    #[test]
    fn a_reserved_place_is_for_peers_and_a_crowd_has_less_patience() {
        let on_trial = one_of(0);
        let at = |age| verdict(&on_trial, age, Duration::ZERO);
        assert_eq!(at(TRIAL), Verdict::GoesOn);
        let refused = Verdict::Refused(RefusalReason::Connections);
        assert_eq!(at(TRIAL + LATER), refused);
        on_trial.place.is_of_peer();
        assert_eq!(at(TRIAL + LATER), Verdict::GoesOn);
        let crowded = one_of(1);
        let idle = verdict(&crowded, IDLE, IDLE_CROWDED + LATER);
        assert_eq!(idle, Verdict::Idle);
    }

    // Without this, streams without a log-in from two addresses would take all connections for ever.
    #[test]
    fn in_a_crowd_open_streams_of_two_addresses_end_and_other_work_goes_on() {
        let places = Places::new(8, 0, Refusals::default());
        let come = |last: u8| {
            let all = (0..8).filter_map(|_| places.take([192, 0, 2, last].into()));
            all.inspect(|usage| usage.progress.request_begins(true))
                .collect::<Vec<_>>()
        };
        let at = |usage, unchanged| verdict(usage, Duration::MAX, unchanged);
        let first = come(1);
        assert_eq!(first.len(), 6, "three quarters");
        assert_eq!(at(&first[0], Duration::MAX), Verdict::GoesOn, "no crowd");
        let second = come(2);
        for usage in first.iter().chain(&second) {
            assert_eq!(at(usage, IDLE_CROWDED), Verdict::GoesOn);
            assert_eq!(at(usage, IDLE_CROWDED + LATER), Verdict::Idle);
        }
        first[0].progress.request_begins(false);
        assert_eq!(at(&first[0], Duration::MAX), Verdict::GoesOn);
    }

    #[test]
    fn what_moves_is_seen_at_the_next_look() {
        let usage = one_of(9);
        let mut watch = Watch::new();
        watch.since -= STALL + LATER;
        usage.progress.request_begins(false);
        usage.progress.owes();
        assert_eq!(watch.look(&usage), Verdict::GoesOn, "this was a change");
        watch.since -= STALL + LATER;
        let stalled = Verdict::Refused(RefusalReason::Stalled);
        assert_eq!(watch.look(&usage), stalled);
    }

    #[test]
    fn a_place_is_free_when_all_that_belongs_to_it_is_gone() {
        let places = Places::new(1, 0, Refusals::default());
        let usage = places.take([192, 0, 2, 1].into()).expect("a place");
        let permit = usage.take(Resource::Watchers, 1).expect("there is one");
        drop(usage);
        assert!(places.take([192, 0, 2, 1].into()).is_none(), "it is in use");
        drop(permit);
        assert!(places.take([192, 0, 2, 1].into()).is_some());
    }
}
