//! How a snapshot was started, in the journal and in parts.

use crate::process::start::{Start, StartedBy};
use crate::store::stored::v1::{frozen_enum, frozen_struct};

frozen_struct!(
    StartV7 = Start {
        by: StartedByV7,
        deadline_us: u64
    }
);

frozen_enum!(StartedByV7 = StartedBy { Request, Interval });
