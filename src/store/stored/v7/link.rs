//! The archived segment that a store remembers.

use super::super::v1::frozen_struct;
use crate::process::ids::{Hash, Lsn};
use crate::store::archived::ShippedLink;

frozen_struct!(
    ShippedLinkV7 = ShippedLink {
        segment: u64,
        hash: Hash,
        epoch: u64,
        position: Lsn,
        journal: Hash,
    }
);
