//! Damage to an export is reported with its first section, and a changed figure with its correct value. Without this an
//! auditor would have to trust the author of the file.

use std::path::Path;

use tempfile::TempDir;

use super::{Block, Export, ExportError, FORMAT_SALTED, MAGIC};
use crate::history::global::GlobalState;
use crate::process::ids::Seq;
use crate::store::fixture::{self, process};
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;
use crate::store::stored::stream::Blocks;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::global::GlobalStateV1;

struct Exported {
    dir: TempDir,
    state: GlobalState,
    bytes: Vec<u8>,
}

impl Exported {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (store, state) = fixture::store(&dir.path().join("p"));
        let mut bytes = Vec::new();
        let exported = store
            .history()
            .export("test", &state.snapshot, 1, &mut bytes);
        exported.expect("it is published");
        Self { dir, state, bytes }
    }

    fn open(&self, bytes: &[u8]) -> Result<Export, ExportError> {
        let path = self.dir.path().join("file.snapledger");
        std::fs::write(&path, bytes).expect("there is room");
        Export::open(Path::new(&path))
    }

    // The first fault of such a file, if any.
    fn wrong(&self, bytes: &[u8]) -> Option<String> {
        let audited = self.open(bytes).and_then(|export| export.audit());
        match audited {
            Err(error) => Some(error.to_string()),
            Ok(audit) => audit.wrong.first().map(ToString::to_string),
        }
    }

    /// For each block: its kind, its offset, and its length including the head.
    fn blocks(&self) -> Vec<(Option<Block>, usize, usize)> {
        let mut at = super::MAGIC.len() + 4;
        let mut blocks = Vec::new();
        while at < self.bytes.len() {
            let length: [u8; 4] = self.bytes[at + 1..at + 5].try_into().expect("four bytes");
            let length = super::HEAD_BYTES + u32::from_le_bytes(length) as usize;
            let kinds = [Block::Cluster, Block::Revision, Block::Chunk, Block::End];
            let kind = kinds.into_iter().find(|kind| *kind as u8 == self.bytes[at]);
            blocks.push((kind, at, length));
            at += length;
        }
        blocks
    }

    /// The same contents with a changed revision and valid checksums.
    fn forged(&self, change: impl FnOnce(&mut GlobalState)) -> Vec<u8> {
        let mut state = self.state.clone();
        change(&mut state);
        let mut bytes = Vec::new();
        let mut writer = Blocks::begin(&mut bytes, MAGIC, FORMAT_SALTED).expect("memory");
        let mut write = |kind: Block, bytes: &[u8]| {
            let written = writer.block(kind as u8, &[bytes]);
            written.expect("memory");
        };
        let revision = frame::encode(&GlobalStateV1::freeze(&state));
        let revision = frame::wrap(Kind::Global, &revision);
        write(Block::Cluster, b"test");
        write(Block::Revision, &revision);
        let mut chunks = 0_u64;
        for (kind, at, length) in self.blocks() {
            if kind == Some(Block::Chunk) {
                let chunk = &self.bytes[at + super::HEAD_BYTES..at + length];
                write(Block::Chunk, chunk);
                chunks += 1;
            }
        }
        let ended = writer.end(Block::End as u8, &[&chunks.to_le_bytes()]);
        ended.expect("memory");
        bytes
    }
}

#[test]
fn a_whole_export_gives_every_figure_again() {
    let exported = Exported::new();
    let export = exported.open(&exported.bytes).expect("it is whole");
    assert_eq!((export.cluster(), export.chunks()), ("test", 7));
    assert_eq!(export.published().state, exported.state);
    let audit = export.audit().expect("all of it is there");
    assert_eq!(audit.wrong, []);
    assert_eq!(audit.recomputed, exported.state);
    assert_eq!(audit.verification.conserved, Some(true));
    assert_eq!(exported.wrong(&exported.forged(|_| {})), None);
}

#[test]
fn a_flipped_bit_anywhere_is_seen_and_its_section_is_named() {
    let exported = Exported::new();
    let mut sections = vec![(0..21, "the header".to_owned())];
    let mut chunks = 0;
    for (kind, at, length) in exported.blocks() {
        let content = at + super::HEAD_BYTES..at + length;
        sections.push(match kind.expect("the file is whole") {
            // Only the total checksum covers the name.
            Block::Cluster => (content, "the".to_owned()),
            Block::Revision => (content, format!("the revision (at byte {}", at + 5)),
            Block::Chunk => {
                chunks += 1;
                (content, format!("chunk {chunks} (at byte {}", at + 5))
            }
            Block::End => (content, "the end mark".to_owned()),
        });
    }
    for place in 0..exported.bytes.len() {
        let mut bytes = exported.bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        let wrong = exported.wrong(&bytes);
        let wrong = wrong.unwrap_or_else(|| unreachable!("byte {place} is not seen"));
        let section = sections.iter().find(|(range, _)| range.contains(&place));
        if let Some((_, name)) = section {
            assert!(wrong.starts_with(name), "byte {place}: {wrong}");
        }
    }
}

#[test]
fn a_file_that_was_cut_off_or_goes_on_is_refused() {
    let exported = Exported::new();
    for length in 0..exported.bytes.len() {
        let wrong = exported.wrong(&exported.bytes[..length]);
        assert!(wrong.is_some_and(|wrong| wrong.contains("cut off")));
    }
    let longer = [&exported.bytes[..], b"\n"].concat();
    let wrong = exported.wrong(&longer);
    assert!(wrong.is_some_and(|wrong| wrong.contains("bytes follow it")));
}

// Without this, a file could fill the memory of its reader with a few lengths.
#[test]
fn a_length_beyond_the_limit_is_refused_before_it_is_read() {
    let exported = Exported::new();
    for (kind, limit) in [(Block::Revision, "67108864"), (Block::Chunk, "262144")] {
        let blocks = exported.blocks();
        let block = blocks.iter().find(|(found, ..)| *found == Some(kind));
        let (_, at, _) = block.expect("it has one");
        let mut bytes = exported.bytes.clone();
        bytes[at + 1..at + 5].copy_from_slice(&u32::MAX.to_le_bytes());
        let wrong = exported.wrong(&bytes).expect("it is too long");
        assert!(wrong.contains(&format!("the limit is {limit}")), "{wrong}");
    }
}

#[test]
fn a_figure_that_was_changed_is_named_with_both_values() {
    let exported = Exported::new();
    let named = |change: fn(&mut GlobalState), sentence: &str| {
        let wrong = exported.wrong(&exported.forged(change)).unwrap_or_default();
        assert!(wrong.starts_with(sentence), "{wrong}, not {sentence}");
    };
    fn part<'a>(state: &'a mut GlobalState, id: &str) -> &'a mut crate::history::part::Part {
        state.parts.get_mut(&process(id)).expect("it is there")
    }
    named(
        |state| part(state, "p").state.balance_total = 26,
        "balance_total of process p: stated 26, computed 25",
    );
    named(
        |state| part(state, "p").state.accounts = 2,
        "accounts of process p: stated 2, computed 3",
    );
    named(
        |state| part(state, "p").state.runs[1].cells = 4,
        "cells of run 2 of process p: stated 4, computed 3",
    );
    named(|state| part(state, "p").state.runs.truncate(1), "chunk ");
    named(
        |state| part(state, "q").channels[0].amount = 8,
        "amount of channel p→q: stated 8, computed 7",
    );
    named(
        |state| part(state, "q").channels[0].last = Seq(2),
        "messages of channel p→q: stated 2, computed 3",
    );
    named(
        |state| part(state, "p").state.deposits = 33,
        "conservation of cluster, paid_in compared with held: stated 38, computed 37",
    );
    named(
        |state| {
            let sent = part(state, "p").state.sent.values_mut().next();
            sent.expect("to q").amount = 9;
        },
        "channel_state of p→q, amount_expected compared with amount_recorded: stated 9, computed 7",
    );
    named(
        |state| {
            let counted = state.counted.values_mut().next();
            counted.expect("of p").chunks_held = 1;
        },
        "chunks_held of the certificate of process p: stated 1, computed 4",
    );
    named(
        |state| part(state, "q").open = vec![process("p")],
        "the status of the snapshot: stated complete, computed partial",
    );
    named(
        |state| part(state, "p").state.withdrawals = i128::MIN,
        "revision 1 of s: its figure",
    );
}
