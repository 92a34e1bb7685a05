//! Every reader of bytes that come from outside, in one table. A fuzzer (`fuzz/`) and a bounded property test
//! (`tests/untrusted.rs`) give each of them anything. A reader answers or refuses: it never panics, and the memory it needs is
//! bounded by what it reads.

use std::io::Write as _;

use prost::Message as _;

use crate::api::{ProofDocument, read_cursors};
use crate::process::clock::Lamport;
use crate::process::ids::ProcessId;
use crate::proto::snapledger as wire;
use crate::store::{Export, Store, read_values};
use crate::transport::wire as convert;

/// A reader. It drops what it has read.
pub type Reader = fn(&[u8]);

/// All of them by the names of their fuzz targets.
pub const READERS: [(&str, Reader); 6] = [
    ("frame", frame),
    ("wire", wire),
    ("export", export),
    ("backup", backup),
    ("cursor", cursor),
    ("proof", proof),
];

/// A stored value: framed as it is, and as the content of a frame that is whole.
pub fn frame(bytes: &[u8]) {
    read_values(bytes);
}

/// A message of a peer, as each kind that it may be.
pub fn wire(bytes: &[u8]) {
    if let Ok(message) = wire::Message::decode(bytes) {
        let _ = convert::envelope_from_wire(message);
    }
    if let Ok(part) = wire::Part::decode(bytes) {
        let _ = convert::part_from_wire(part);
    }
    if let Ok(state) = wire::RecordedState::decode(bytes) {
        let _ = convert::state_from_wire(state);
    }
    if let Ok(share) = wire::Share::decode(bytes) {
        let _ = convert::share_from_wire(share);
    }
    if let Ok(identity) = wire::Identity::decode(bytes) {
        let _ = convert::identity_from_wire("cluster", Some(identity));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let from = ProcessId::parse("peer").expect("a valid id");
        for kind in ["transfer", "put", "marker"] {
            let foreign = convert::Foreign {
                message_type: kind,
                payload: text.as_bytes(),
                from: &from,
                clock: Lamport(1),
                fallback_id: "m-1".to_owned(),
            };
            let _ = foreign.read();
        }
    }
}

/// A file that should be an export.
///
/// # Panics
/// Where there is no room for temporary files.
pub fn export(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("there is room");
    file.write_all(bytes).expect("there is room");
    if let Ok(export) = Export::open(file.path()) {
        let _ = export.audit();
    }
}

/// A stream that should be a backup.
///
/// # Panics
/// Where there is no room for temporary files.
pub fn backup(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("there is room");
    let mut input = bytes;
    let _ = Store::restore_backup(&dir.path().join("store"), &mut input, &|_| {});
}

/// A cursor of a list, or a cut.
pub fn cursor(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read_cursors(text);
    }
}

/// A file that should be a proof.
pub fn proof(bytes: &[u8]) {
    if let Ok(document) = serde_json::from_slice::<ProofDocument>(bytes) {
        let _ = document.check();
    }
}
