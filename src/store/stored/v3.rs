//! The stored types added in format 3; since format 7 those of [`super::v7`] are written. Frozen like those of format 1.

use serde::{Deserialize, Serialize};

use crate::history::pin::Pin;
use crate::process::clock::Hlc;
use crate::process::decision::Actor;
use crate::process::ids::ProcessId;
use crate::store::retention::pin::RetentionEntry;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct KeptV3 {
    pub(in crate::store) pin: Option<PinV3>,
    pub(in crate::store) deleted: Option<Hlc>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct PinV3 {
    pub(in crate::store) pinned: bool,
    pub(in crate::store) at: Hlc,
    pub(in crate::store) by: ProcessId,
}

impl KeptV3 {
    /// What is kept; who pinned it was not recorded.
    pub(in crate::store) fn thaw(self) -> RetentionEntry {
        let pin = self.pin.map(|PinV3 { pinned, at, by }| Pin {
            pinned,
            at,
            by,
            actor: Actor::default(),
        });
        RetentionEntry {
            pin,
            deleted: self.deleted,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::{self, Kind};
    use super::super::v7::read_kept;
    use super::*;

    proptest! {
        // A wrongly decoded pin would keep or delete the wrong snapshot.
        #[test]
        fn what_an_older_version_kept_is_read(pin in any::<Option<(bool, u64)>>(), deleted in any::<Option<u64>>()) {
            let by = ProcessId::parse("n1").expect("a valid id");
            let pin = pin.map(|(pinned, at)| PinV3 { pinned, at: Hlc(at), by });
            let kept = KeptV3 { pin, deleted: deleted.map(Hlc) };
            let framed = frame::wrap(Kind::Kept, &frame::encode(&kept));
            prop_assert_eq!(read_kept(&framed).expect("it was just written"), kept.thaw());
        }
    }
}
