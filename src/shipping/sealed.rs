//! Heads of archived objects: each is readable from the first bytes of its object, and verified by its own hash.
//!
//! | bytes | what |
//! |---|---|
//! | 18 | what kind of object it is |
//! | 4 | format, little-endian |
//! | 4 | length of the head, little-endian |
//! | | head (bincode), which contains length and hash of the body |
//! | 32 | BLAKE3 hash of everything before it |
//! | | body |

use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC_BYTES: usize = 18;
const FORMAT: u32 = 1;
const PREFIX_BYTES: usize = MAGIC_BYTES + 4 + 4;
const HASH_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;

/// The most bytes that a store has under one key: 255 MiB and their frame.
pub const STORED_BYTES_MAX: u64 = (255 << 20) + 10;
/// The same as a piece of a body, behind its length.
pub(super) const PIECE_BYTES_MAX: u64 = STORED_BYTES_MAX + LENGTH_BYTES as u64;

/// The head of one kind of object; together with its hash it has at most `MAX` bytes.
pub(super) struct Seal<const MAX: usize> {
    pub(super) magic: &'static [u8; MAGIC_BYTES],
    /// Said of an object of another kind.
    pub(super) other: &'static str,
}

impl<const MAX: usize> Seal<MAX> {
    /// Everything before the hash.
    pub(super) fn begin<H: Serialize>(&self, head: &H) -> Vec<u8> {
        let head = bincode::serde::encode_to_vec(head, configuration::<MAX>())
            .expect("a plain structure within the limit always encodes");
        let length = u32::try_from(head.len()).expect("heads are bounded");
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + head.len() + HASH_BYTES);
        bytes.extend_from_slice(self.magic);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes
    }

    /// The bytes of an object.
    pub(super) fn seal<H: Serialize>(&self, head: &H, body: &[u8]) -> Vec<u8> {
        let mut bytes = self.begin(head);
        let hash = blake3::hash(&bytes);
        bytes.reserve_exact(HASH_BYTES + body.len());
        bytes.extend_from_slice(hash.as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// Reads a head from the beginning of an object, and the length of what precedes the body.
    pub(super) fn open<H: DeserializeOwned>(
        &self,
        object: &[u8],
    ) -> Result<(H, usize), Unreadable> {
        let prefix = object.get(..PREFIX_BYTES).ok_or(Unreadable::CutOff)?;
        let (magic, rest) = prefix.split_at(MAGIC_BYTES);
        if magic != self.magic {
            return Err(Unreadable::Damaged(self.other));
        }
        let (format, length) = (number(rest), number(&rest[4..]) as usize);
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        if length > MAX - PREFIX_BYTES - HASH_BYTES {
            return Err(Unreadable::Damaged(
                "the length of its head is out of range",
            ));
        }
        let end = PREFIX_BYTES + length;
        let signed = object.get(..end).ok_or(Unreadable::CutOff)?;
        let hash = object
            .get(end..end + HASH_BYTES)
            .ok_or(Unreadable::CutOff)?;
        if blake3::hash(signed).as_bytes() != hash {
            return Err(Unreadable::Damaged("its head does not match its hash"));
        }
        let (head, used) =
            bincode::serde::decode_from_slice(&signed[PREFIX_BYTES..], configuration::<MAX>())
                .map_err(|_| Unreadable::Damaged("its head cannot be decoded"))?;
        if used != length {
            return Err(Unreadable::Damaged("its head has bytes too many"));
        }
        Ok((head, end + HASH_BYTES))
    }

    /// Whether a head fits.
    pub(super) fn fits<H: Serialize>(&self, head: &H) -> bool {
        let encoded = bincode::serde::encode_to_vec(head, configuration::<MAX>());
        encoded.is_ok_and(|head| head.len() <= MAX - PREFIX_BYTES - HASH_BYTES)
    }
}

/// The body of an object, which begins behind so many bytes, checked against its head.
pub(super) fn body(
    object: &[u8],
    behind: usize,
    bytes: u64,
    hash: [u8; HASH_BYTES],
) -> Result<&[u8], Unreadable> {
    let body = object.get(behind..).unwrap_or_default();
    if (body.len() as u64) < bytes {
        return Err(Unreadable::CutOff);
    }
    if blake3::hash(body).as_bytes() != &hash {
        return Err(Unreadable::Damaged("its content does not match its hash"));
    }
    Ok(body)
}

/// Appends a piece to a body, behind its length.
///
/// # Panics
/// If the piece is 4 GiB or longer; stored values have at most [`STORED_BYTES_MAX`].
pub(super) fn push(body: &mut Vec<u8>, piece: &[u8]) {
    let length = u32::try_from(piece.len()).expect("stored values are shorter than 4 GiB");
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(piece);
}

/// The pieces of a body, in order.
pub(super) fn pieces(body: &[u8]) -> impl Iterator<Item = Result<&[u8], Unreadable>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = rest
            .split_first_chunk::<LENGTH_BYTES>()
            .and_then(|(length, behind)| {
                behind.split_at_checked(u32::from_le_bytes(*length) as usize)
            });
        let Some((piece, behind)) = split else {
            rest = &[];
            return Some(Err(Unreadable::CutOff));
        };
        rest = behind;
        Some(Ok(piece))
    })
}

fn configuration<const MAX: usize>() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<MAX>()
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Why an object is none that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// A newer program wrote it.
    #[error("its format is {0}; this program reads {FORMAT}: use a newer program")]
    Format(u32),
    /// It is another object, or was changed.
    #[error("{0}")]
    Damaged(&'static str),
}
