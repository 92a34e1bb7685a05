//! Whether a node does its work, check by check.

use crate::node::handle::Handle;
use crate::process::clock::Hlc;

const COMPARES_CLOCKS: &str =
    "the wall clock is being compared with the clocks of the peers; this takes at most 2 s";
const WRITES_FIRST_TURN: &str = "the first turn of the journal is being written";

/// One condition of readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyCheck {
    /// Stable; `storage`, `clock`, `journal`, `disk_space`, `archive`, or `peers` of a node that waits for the ids of its peers.
    pub name: &'static str,
    /// Why it is not met, as a sentence; `None` if it is met.
    pub fault: Option<String>,
}

impl Handle {
    /// The conditions of readiness: the disk works, the clock is settled, the journal has begun, there is space,
    /// and the archive keeps up if anything waits for it.
    #[must_use]
    pub fn ready_checks(&self) -> [ReadyCheck; 5] {
        let shared = &self.shared;
        let unless = |met: bool, why: &str| (!met).then(|| why.to_owned());
        let is_settled = shared.peers.wall().is_settled();
        // A journal does not know instants before its first turn, and clients of a ready node may ask about them.
        let has_begun = shared.clocks.newest().time != Hlc::default();
        let admission = *shared.admission.borrow();
        [
            ("storage", shared.failed.borrow().clone()),
            ("clock", unless(is_settled, COMPARES_CLOCKS)),
            ("journal", unless(has_begun, WRITES_FIRST_TURN)),
            (
                "disk_space",
                admission
                    .disk
                    .for_clients()
                    .err()
                    .map(|why| why.to_string()),
            ),
            (
                "archive",
                admission
                    .archived()
                    .err()
                    .map(|why| shared.trouble.added_to(why.to_string())),
            ),
        ]
        .map(|(name, fault)| ReadyCheck { name, fault })
    }

    /// Whether the node is ready.
    ///
    /// # Errors
    /// The first fault of [`Handle::ready_checks`].
    pub fn ready(&self) -> Result<(), String> {
        let mut faults = self
            .ready_checks()
            .into_iter()
            .filter_map(|check| check.fault);
        faults.next().map_or(Ok(()), Err)
    }
}
