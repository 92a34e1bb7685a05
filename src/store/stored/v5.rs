//! The stored types added in format 5. Frozen like those of format 1.

use super::v1::frozen_struct;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::history::head::{BlockHead, PackedLine};

frozen_struct!(
    HeadV5 = BlockHead {
        lines: Vec<PackedLineV5>,
    }
);

frozen_struct!(
    PackedLineV5 = PackedLine {
        snapshot: SnapshotId,
        start: Hlc,
        initiator: ProcessId,
        revision: u32,
        complete: bool,
        parts: u32,
        closed_channels: u32,
        bytes: u32,
        is_own_part: bool,
    }
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame;
    use super::super::v1::Frozen;
    use super::*;

    proptest! {
        // A wrongly decoded summary would list a snapshot in the wrong place.
        #[test]
        fn what_is_listed_comes_back(numbers: [u32; 4], start: u64, complete: bool, is_own_part: bool) {
            let [revision, parts, closed_channels, bytes] = numbers;
            let line = PackedLine {
                snapshot: SnapshotId::parse("s").expect("a valid id"),
                start: Hlc(start),
                initiator: ProcessId::parse("n1").expect("a valid id"),
                revision,
                complete,
                parts,
                closed_channels,
                bytes,
                is_own_part,
            };
            let head = BlockHead { lines: vec![line.clone(), line] };
            let bytes = frame::encode(&HeadV5::freeze(&head));
            let read: HeadV5 = frame::decode(&bytes).expect("it was just written");
            prop_assert_eq!(read.thaw(), head);
        }
    }
}
