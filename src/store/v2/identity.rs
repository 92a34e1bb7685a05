//! The identity of a peer: its store, and which start of it.

use crate::process::event::Identity;
use crate::store::v1::frozen_struct;

frozen_struct!(
    IdentityV2 = Identity {
        store: [u8; 16],
        boot: u64,
        run: u64,
    }
);
