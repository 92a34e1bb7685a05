//! What every node keeps of the whole cluster: the published revisions, and the pins.

mod contradictions;
pub(super) mod pins;
pub(super) mod replicator;
