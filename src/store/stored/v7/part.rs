//! Parts since format 7: with the turns that closed their channels and how the snapshot was started, as far as these are known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::start::StartV7;
use crate::history::part::{Closing, Part};
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::part::PartV1;
use crate::store::stored::v1::{Frozen, frozen_struct};

frozen_struct!(
    ClosingV7 = Closing {
        position: Lsn,
        time: Hlc
    }
);

/// The known closings of a part, by the origin of the channel.
pub(in crate::store) type ClosingsV7 = BTreeMap<ProcessId, ClosingV7>;

/// A part with a known closing or start; a part without both is stored as [`PartV1`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct PartV7 {
    part: PartV1,
    closings: ClosingsV7,
    start: Option<StartV7>,
}

/// The known closings of the channels of a part.
pub(in crate::store) fn closings_of(part: &Part) -> ClosingsV7 {
    let known = part.channels.iter().filter_map(|channel| {
        let closing = channel.closing.as_ref()?;
        Some((channel.from.clone(), ClosingV7::freeze(closing)))
    });
    known.collect()
}

/// Puts closings back into the channels of their part.
pub(in crate::store) fn put_closings(part: &mut Part, mut closings: ClosingsV7) {
    for channel in &mut part.channels {
        channel.closing = closings.remove(&channel.from).map(Frozen::thaw);
    }
}

/// Encodes and frames a part.
pub fn write_part(part: &Part) -> Vec<u8> {
    let closings = closings_of(part);
    let start: Option<StartV7> = Frozen::freeze(&part.start);
    let part = PartV1::freeze(part);
    if closings.is_empty() && start.is_none() {
        return frame::wrap(Kind::Part, &frame::encode(&part));
    }
    let part = PartV7 {
        part,
        closings,
        start,
    };
    frame::wrap(Kind::Part7, &frame::encode(&part))
}

/// Reads a part, also as older formats store it.
///
/// # Errors
/// [`Damage`].
pub fn read_part(framed: &[u8]) -> Result<Part, Damage> {
    if !frame::is_of(Kind::Part7, framed) {
        let part = frame::unwrap(Kind::Part, framed)?;
        return Ok(frame::decode::<PartV1>(part)?.thaw());
    }
    let read: PartV7 = frame::decode(frame::unwrap(Kind::Part7, framed)?)?;
    let mut part = read.part.thaw();
    part.start = read.start.thaw();
    put_closings(&mut part, read.closings);
    Ok(part)
}
