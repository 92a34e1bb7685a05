//! The stored types added in format 3. Frozen like those of format 1.

use super::v1::frozen_struct;
use crate::history::pin::Pin;
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::store::retention::pin::RetentionEntry;

frozen_struct!(
    KeptV3 = RetentionEntry {
        pin: Option<PinV3>,
        deleted: Option<Hlc>,
    }
);

frozen_struct!(
    PinV3 = Pin {
        pinned: bool,
        at: Hlc,
        by: ProcessId,
    }
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame;
    use super::super::v1::Frozen;
    use super::*;

    proptest! {
        // A wrongly decoded pin would keep or delete the wrong snapshot.
        #[test]
        fn what_is_kept_comes_back(pin in any::<Option<(bool, u64)>>(), deleted in any::<Option<u64>>()) {
            let by = ProcessId::parse("n1").expect("a valid id");
            let pin = pin.map(|(pinned, at)| Pin { pinned, at: Hlc(at), by });
            let kept = RetentionEntry { pin, deleted: deleted.map(Hlc) };
            let bytes = frame::encode(&KeptV3::freeze(&kept));
            let read: KeptV3 = frame::decode(&bytes).expect("it was just written");
            prop_assert_eq!(read.thaw(), kept);
        }
    }
}
