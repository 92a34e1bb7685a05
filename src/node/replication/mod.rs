//! What every node keeps of the whole cluster: the published revisions, and the pins.

pub(super) mod history;
pub(super) mod pins;
