//! The identity of a peer: its store, and which start of it.

use crate::process::identity::Identity;
use crate::store::stored::v1::frozen_struct;

frozen_struct!(
    IdentityV2 = Identity {
        store: [u8; 16],
        boot: u64,
        run: u64,
    }
);
