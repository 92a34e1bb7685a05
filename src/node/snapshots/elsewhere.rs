//! What the peers know of the id of a snapshot that is about to be started.

use crate::history::known::KnownSnapshot;
use crate::process::ids::ProcessId;

/// What the peers know of an id.
#[derive(Debug, Default)]
pub(in crate::node) struct Elsewhere {
    pub(in crate::node) found: Option<KnownSnapshot>,
    /// Whether a process that was never recognized on this store has not answered.
    pub(in crate::node) is_stranger_silent: bool,
    /// A process that is up and did not answer in time.
    pub(in crate::node) live_and_silent: Option<ProcessId>,
}

impl Elsewhere {
    /// Takes an answer. An existing snapshot takes precedence over a deleted one: it may be pinned.
    pub(in crate::node) fn take(&mut self, found: Option<KnownSnapshot>) {
        if !matches!(self.found, Some(KnownSnapshot::Begun { .. })) {
            self.found = found.or(self.found.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::known::SnapshotStatus;

    #[test]
    fn what_is_there_counts_more_than_what_was_deleted() {
        let begun = KnownSnapshot::Begun {
            status: SnapshotStatus::Partial,
            initiator: ProcessId::parse("n1").expect("a valid id"),
            started: None,
            start: None,
        };
        for order in [
            [Some(KnownSnapshot::Deleted), Some(begun.clone())],
            [Some(begun.clone()), Some(KnownSnapshot::Deleted)],
        ] {
            let mut elsewhere = Elsewhere::default();
            order.into_iter().for_each(|found| elsewhere.take(found));
            elsewhere.take(None);
            assert_eq!(elsewhere.found, Some(begun.clone()));
        }
    }
}
