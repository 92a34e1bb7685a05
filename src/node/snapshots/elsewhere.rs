//! What the peers know of the name of a snapshot that is about to be started.

use crate::history::known::KnownSnapshot;
use crate::process::ids::ProcessId;

/// What the peers know of a name.
#[derive(Debug, Default)]
pub(in crate::node) struct Elsewhere {
    pub(in crate::node) found: Option<KnownSnapshot>,
    /// Whether a process did not answer that was never met on this store.
    pub(in crate::node) is_stranger_silent: bool,
    /// One that is up and has said nothing, although it was waited for.
    pub(in crate::node) live_and_silent: Option<ProcessId>,
}

impl Elsewhere {
    /// One that is there counts more than one that was deleted: it may be pinned.
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
