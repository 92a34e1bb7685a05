//! A channel: its two ends, how messages arrive on it, and what has passed.

use super::{frozen_enum, frozen_struct};
use crate::process::channel::Flow;
use crate::process::ids::{ChannelId, ProcessId, Seq};
use crate::process::message::Way;

frozen_struct!(
    ChannelIdV1 = ChannelId {
        from: ProcessId,
        to: ProcessId
    }
);

frozen_enum!(WayV1 = Way { Native, Unary });

frozen_struct!(
    FlowV1 = Flow {
        sequence: Seq,
        transfers: u64,
        amount: i128
    }
);
