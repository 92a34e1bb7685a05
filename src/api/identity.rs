//! The ids under which a process remembers its answers. Each kind of request has its own namespace, so that ids of
//! different kinds cannot collide.

use axum::http::HeaderMap;

use super::error::{Failure, id};
use crate::process::ids::{ID_BYTES_MAX, ProcessId, RequestId};
use crate::process::refusal::Refusal;

/// The header or metadata key that identifies a request.
const REPEAT_KEY: &str = "Idempotency-Key";

/// The `Idempotency-Key` of a request as a request id: a header on REST, metadata on gRPC. One key denotes the same
/// request on both.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<RequestId>, Failure> {
    let mut keys = headers.get_all(REPEAT_KEY).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        return Err(Failure::malformed(
            REPEAT_KEY,
            "is given twice; give it once",
        ));
    }
    let text = std::str::from_utf8(key.as_bytes())
        .map_err(|_| Failure::malformed(REPEAT_KEY, "is not UTF-8"))?;
    let key = id(REPEAT_KEY, text, RequestId::parse)?;
    Ok(Some(of_key(key.as_str())))
}

// The id of a call with an `Idempotency-Key`.
fn of_key(key: &str) -> RequestId {
    within("key/", key)
}

/// The id of an operation in a batch, from the client's `request_id`.
pub(super) fn of_operation(request: &RequestId) -> RequestId {
    within("op/", request.as_str())
}

/// The id of a message that arrived by a unary call.
pub(super) fn of_message(from: &ProcessId, message: &RequestId) -> RequestId {
    within(&origin("call", from), message.as_str())
}

/// The id of a marker that arrived by a unary call. A channel carries one marker per snapshot.
pub(super) fn of_marker(from: &ProcessId, snapshot: &str) -> RequestId {
    within(&origin("marker", from), snapshot)
}

/// Restores the client's own id in a refusal.
pub(super) fn as_given(refusal: Refusal) -> Refusal {
    let Refusal::RequestReused(request) = &refusal else {
        return refusal;
    };
    let name = request.as_str();
    let given = name.strip_prefix("key/").or(name.strip_prefix("op/"));
    let given = given.and_then(|given| RequestId::parse(given).ok());
    given.map_or(refusal, Refusal::RequestReused)
}

// A process id that is long or contains a slash is hashed, so that it cannot run into the rest.
fn origin(kind: &str, from: &ProcessId) -> String {
    let from = from.as_str();
    if from.contains('/') || from.len() > 32 {
        format!("{kind}/#{}/", &blake3::hash(from.as_bytes()).to_hex()[..32])
    } else {
        format!("{kind}/{from}/")
    }
}

fn within(space: &str, name: &str) -> RequestId {
    let plain = format!("{space}{name}");
    let text = if plain.len() > ID_BYTES_MAX {
        format!("{space}#{}", blake3::hash(name.as_bytes()).to_hex())
    } else {
        plain
    };
    RequestId::parse(&text).expect("a short space and a checked or hashed name fit an id")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn request(id: &str) -> RequestId {
        RequestId::parse(id).expect("a valid id")
    }

    #[test]
    fn names_of_every_length_fit_and_differ() {
        assert_eq!(of_key("k").as_str(), "key/k");
        assert_eq!(
            of_message(&process("n2"), &request("m")).as_str(),
            "call/n2/m"
        );
        let long = "x".repeat(128);
        let other = format!("{}y", "x".repeat(127));
        assert_ne!(of_key(&long), of_key(&other));
        let far = process(&"p".repeat(128));
        assert_ne!(
            of_message(&far, &request(&long)),
            of_message(&far, &request(&other))
        );
    }

    #[test]
    fn a_client_reads_its_own_name() {
        let refusal = as_given(Refusal::RequestReused(of_key("k1")));
        assert_eq!(refusal, Refusal::RequestReused(request("k1")));
    }

    #[test]
    fn a_slash_in_an_id_does_not_make_two_messages_one() {
        assert_ne!(
            of_message(&process("a/b"), &request("c")),
            of_message(&process("a"), &request("b/c"))
        );
    }

    #[test]
    fn a_key_is_taken_once_and_checked() {
        let key = |text: &'static [u8]| HeaderValue::from_bytes(text).expect("a header");
        let mut headers = HeaderMap::new();
        assert_eq!(key_of(&headers).ok(), Some(None));
        headers.append(REPEAT_KEY, key(b"k"));
        let taken = key_of(&headers).ok().flatten();
        assert_eq!(taken.as_ref().map(RequestId::as_str), Some("key/k"));
        headers.append(REPEAT_KEY, key(b"k"));
        assert!(key_of(&headers).is_err(), "given twice");
        for odd in [&b""[..], b"\xff", &[b'k'; 129], b"a\tb"] {
            headers.insert(REPEAT_KEY, key(odd));
            assert!(key_of(&headers).is_err(), "{odd:?}");
        }
    }
}
