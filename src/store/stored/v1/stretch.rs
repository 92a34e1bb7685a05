//! The account index, as stored in the tree `stretches`. Since format 3.

use super::frozen_struct;
use crate::process::ids::{Hash, Lsn};
use crate::store::account_index::{Segment, Touches};

frozen_struct!(
    StretchV1 = Segment {
        first: Lsn,
        touches: u64,
        journal: Hash
    }
);

frozen_struct!(TouchesV1 = Touches { pairs: Vec<(u32, u32)> });
