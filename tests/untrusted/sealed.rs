//! Damaged inputs with their checksums corrected, so that the readers behind the checksums get them, and proofs as samples.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use snapledger::api::ProofDocument;
use snapledger::process::ids::{AccountId, SnapshotId};
use snapledger::store::Store;

use crate::teller::fixtures::{CLUSTER, fixture_of, import};
use crate::teller::process_id;

const FRAME_BYTES: usize = 10;
const EXPORT_HEAD_BYTES: usize = 17 + 4;
const BACKUP_HEAD_BYTES: usize = 17 + 4;
const BLOCK_HEAD_BYTES: usize = 5;
/// The kinds of blocks that end a file, and those of an export that contain a frame.
const EXPORT_END: u8 = 4;
const EXPORT_FRAMED: [u8; 2] = [2, 3];
const BACKUP_END: u8 = 4;

/// The snapshot and the accounts of the fixtures.
const GOLDEN: &str = "p-golden";
const GOLDEN_ACCOUNTS: [&str; 3] = ["alice", "carol", "zoe"];

/// What a store of format 6 gives, whose chunks are not salted.
pub(crate) fn of_an_older_store<T>(asked: impl FnOnce(&Store, &SnapshotId, &[&str]) -> T) -> T {
    let dir = import(&fixture_of(6));
    let store = Store::open(dir.path(), CLUSTER, &process_id("p")).expect("the store opens");
    let snapshot = SnapshotId::parse(GOLDEN).expect("a valid id");
    asked(&store, &snapshot, &GOLDEN_ACCOUNTS)
}

/// Proofs of accounts in the first revision of a snapshot, as documents.
pub(crate) fn proofs(store: &Store, snapshot: &SnapshotId, accounts: &[&str]) -> Vec<Vec<u8>> {
    let me = process_id("p");
    let prove = |name: &&str| {
        let account = AccountId::parse(name).expect("a valid id");
        let proof = store.history().prove(snapshot, 1, &me, &account);
        let proof = proof.expect("it is whole").expect("p is in it");
        let proven = proof.of(&me, &account).expect("it holds");
        let document = ProofDocument::new(&proof, &me, &account, &proven);
        serde_json::to_vec(&document).expect("it is text")
    };
    accounts.iter().map(prove).collect()
}

/// Corrects the length and the checksum of a frame.
fn frame(bytes: &mut [u8]) {
    if bytes.len() < FRAME_BYTES {
        return;
    }
    let length = u32::try_from(bytes.len() - FRAME_BYTES).expect("it is small");
    bytes[2..6].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..6]), &bytes[FRAME_BYTES..]);
    bytes[6..FRAME_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// An export with the checksums of its frames and of the file corrected.
pub(crate) fn export(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = EXPORT_HEAD_BYTES;
    let mut chunks = 0_u64;
    while let Some((kind, begin, end)) = block(&bytes, at) {
        if EXPORT_FRAMED.contains(&kind) {
            frame(&mut bytes[begin..end]);
            chunks += u64::from(kind == 3);
        }
        if kind == EXPORT_END && end - begin == 40 {
            let hash = blake3::hash(&bytes[..at]);
            bytes[begin..begin + 8].copy_from_slice(&chunks.to_le_bytes());
            bytes[begin + 8..end].copy_from_slice(hash.as_bytes());
            break;
        }
        at = end;
    }
    bytes
}

/// A backup with the checksum of the stream corrected.
pub(crate) fn backup(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = BACKUP_HEAD_BYTES;
    while let Some((kind, begin, end)) = block(&bytes, at) {
        if kind == BACKUP_END && end - begin >= 32 {
            let hash = blake3::hash(&bytes[..at]);
            bytes[end - 32..end].copy_from_slice(hash.as_bytes());
            break;
        }
        at = end;
    }
    bytes
}

// The kind of the block at this byte, and where its content begins and ends.
fn block(bytes: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let head: [u8; BLOCK_HEAD_BYTES] = bytes.get(at..at + BLOCK_HEAD_BYTES)?.try_into().ok()?;
    let [kind, length @ ..] = head;
    let begin = at + BLOCK_HEAD_BYTES;
    let end = begin.checked_add(u32::from_le_bytes(length) as usize)?;
    (end <= bytes.len()).then_some((kind, begin, end))
}

/// A proof whose text was damaged; if it is still JSON, with the frames in it and its root corrected.
pub(crate) fn proof(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(mut document) = serde_json::from_slice::<Value>(&bytes) else {
        return bytes;
    };
    let revision = document["proof"]["revision"].as_str();
    let Some(mut revision) = revision.and_then(|text| STANDARD.decode(text).ok()) else {
        return bytes;
    };
    frame(&mut revision);
    let content = revision.get(FRAME_BYTES..).unwrap_or_default();
    document["root"] = json!(blake3::hash(content).to_hex().as_str());
    document["proof"]["revision"] = json!(STANDARD.encode(&revision));
    serde_json::to_vec(&document).expect("it is text")
}

/// The number of values in a document that are neither lists nor objects.
pub(crate) fn values(document: &Value) -> usize {
    match document {
        Value::Array(values) => values.iter().map(self::values).sum(),
        Value::Object(values) => values.values().map(self::values).sum(),
        _ => 1,
    }
}

/// The document with one value changed in several ways.
pub(crate) fn changed(document: &Value, number: usize) -> Vec<Value> {
    let mut left = number;
    let mut original = document.clone();
    let value = nth(&mut original, &mut left)
        .expect("there are so many")
        .clone();
    let others = match &value {
        Value::String(text) => {
            let middle = text.len() / 2;
            let flipped: String = text
                .char_indices()
                .map(|(at, one)| match (at == middle, one) {
                    (true, '1') => '2',
                    (true, _) => '1',
                    _ => one,
                })
                .collect();
            let last = text.len().saturating_sub(1);
            vec![
                json!(flipped),
                json!(text.get(..last).unwrap_or_default()),
                json!(format!("{text}00")),
                json!(""),
                Value::Null,
            ]
        }
        Value::Number(number) => {
            let number = number.as_i64().expect("all of them fit");
            vec![
                json!(number + 1),
                json!(number - 1),
                json!(u64::from(u32::MAX)),
                json!("0"),
            ]
        }
        Value::Bool(is) => vec![json!(!is), Value::Null],
        _ => vec![json!(0), json!({})],
    };
    let others = others.into_iter().filter(|other| *other != value);
    let replaced = others.map(|other| {
        let (mut copy, mut left) = (document.clone(), number);
        *nth(&mut copy, &mut left).expect("there are so many") = other;
        copy
    });
    replaced.collect()
}

fn nth<'a>(document: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    match document {
        Value::Array(values) => values.iter_mut().find_map(|value| nth(value, left)),
        Value::Object(values) => values.values_mut().find_map(|value| nth(value, left)),
        value if *left == 0 => Some(value),
        _ => {
            *left -= 1;
            None
        }
    }
}
