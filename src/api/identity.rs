//! The ids under which a process remembers its answers. Each kind of request has its own namespace, so that ids of
//! different kinds cannot collide. Each caller with a proven name has its own, so that it can neither read nor block the
//! requests of another by using their ids. Without authentication all callers share one.

use std::borrow::Cow;
use std::fmt;

use axum::http::HeaderMap;

use super::error::{Failure, id};
use crate::access::caller::Caller;
use crate::process::ids::{ID_BYTES_MAX, ProcessId, RequestId};
use crate::process::refusal::Refusal;
use crate::process::requests::{MARKERS, MESSAGES};

/// The header or metadata key that identifies a request.
const REPEAT_KEY: &str = "Idempotency-Key";

/// The `Idempotency-Key` of a request as a request id: a header on REST, metadata on gRPC. One key denotes the same
/// request of a caller on both.
pub(super) fn key_of(caller: &Caller, headers: &HeaderMap) -> Result<Option<RequestId>, Failure> {
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
    Ok(Some(of_key(caller, key.as_str())))
}

// The id of a call with an `Idempotency-Key`.
fn of_key(caller: &Caller, key: &str) -> RequestId {
    of_caller("key", caller, key)
}

/// The id of an operation in a batch, from the client's `request_id`.
pub(super) fn of_operation(caller: &Caller, request: &RequestId) -> RequestId {
    of_caller("op", caller, request.as_str())
}

// Two issuers may give one name to different callers, so the way in which the name was proven is part of it.
fn of_caller(kind: &str, caller: &Caller, given: &str) -> RequestId {
    match caller.grant() {
        None => within(format_args!("{kind}/"), given),
        Some(grant) => {
            let (via, name) = (grant.via.label(), segment(&grant.name));
            within(format_args!("{kind}@{via}/{name}/"), given)
        }
    }
}

/// The id of a message that arrived by a unary call.
pub(super) fn of_message(from: &ProcessId, message: &RequestId) -> RequestId {
    within(
        format_args!("{MESSAGES}{}/", segment(from.as_str())),
        message.as_str(),
    )
}

/// The id of a marker that arrived by a unary call. A channel carries one marker per snapshot.
pub(super) fn of_marker(from: &ProcessId, snapshot: &str) -> RequestId {
    within(
        format_args!("{MARKERS}{}/", segment(from.as_str())),
        snapshot,
    )
}

/// Restores the client's own id in a refusal.
pub(super) fn as_given(refusal: Refusal) -> Refusal {
    let Refusal::RequestReused(request) = &refusal else {
        return refusal;
    };
    let given = given(request.as_str()).and_then(|given| RequestId::parse(given).ok());
    given.map_or(refusal, Refusal::RequestReused)
}

fn given(request: &str) -> Option<&str> {
    let (space, rest) = request.split_once('/')?;
    match space.split_once('@').unwrap_or((space, "")) {
        ("key" | "op", "") => Some(rest),
        // After the name of the caller.
        ("key" | "op", _) => Some(rest.split_once('/')?.1),
        _ => None,
    }
}

// A name that is long or contains a slash is hashed, so that it cannot run into the rest.
fn segment(name: &str) -> Cow<'_, str> {
    let is_plain = |name: &str| !name.contains(|char: char| char == '/' || char.is_control());
    match name.len() <= 32 && is_plain(name) {
        true => Cow::Borrowed(name),
        false => {
            let hash = blake3::hash(name.as_bytes()).to_hex();
            Cow::Owned(format!("#{}", &hash[..32]))
        }
    }
}

fn within(space: fmt::Arguments<'_>, name: &str) -> RequestId {
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
    use crate::access::caller::Via;

    fn anyone() -> Caller {
        Caller::default()
    }

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn request(id: &str) -> RequestId {
        RequestId::parse(id).expect("a valid id")
    }

    #[test]
    fn names_of_every_length_fit_and_differ() {
        assert_eq!(of_key(&anyone(), "k").as_str(), "key/k");
        assert_eq!(
            of_message(&process("n2"), &request("m")).as_str(),
            "call/n2/m"
        );
        let long = "x".repeat(128);
        let other = format!("{}y", "x".repeat(127));
        assert_ne!(of_key(&anyone(), &long), of_key(&anyone(), &other));
        let far = process(&"p".repeat(128));
        assert_ne!(
            of_message(&far, &request(&long)),
            of_message(&far, &request(&other))
        );
    }

    #[test]
    fn a_client_reads_its_own_name() {
        let slash = Caller::named("a/b", Via::Certificate);
        for caller in [anyone(), Caller::named("till", Via::Token), slash] {
            for name in ["k1", "a/b", "a@b/c", "/"] {
                for stored in [of_key(&caller, name), of_operation(&caller, &request(name))] {
                    let refusal = as_given(Refusal::RequestReused(stored));
                    assert_eq!(refusal, Refusal::RequestReused(request(name)));
                }
            }
        }
    }

    // Without this, one caller reads the answer to the request of another, or makes its id unusable.
    #[test]
    fn each_caller_has_its_own_ids() {
        let long = "n".repeat(128);
        let names = ["a", "b", "a/k", "k", &long, &long[1..], "a\u{1}"];
        let vias = [Via::Token, Via::Jwt, Via::Certificate];
        let named = |via| names.map(|name| Caller::named(name, via));
        let callers = vias.into_iter().flat_map(named).chain([anyone()]);
        let mut seen = std::collections::BTreeSet::new();
        for caller in callers {
            for given in ["k", "k/k", "a/k", &"x".repeat(128)] {
                let ids = [
                    of_key(&caller, given),
                    of_operation(&caller, &request(given)),
                ];
                assert!(
                    ids.into_iter().all(|id| seen.insert(id)),
                    "{caller:?} {given}"
                );
            }
        }
        assert!(seen.iter().any(|id| id.as_str() == "key@token/a/k"));
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
        assert_eq!(key_of(&anyone(), &headers).ok(), Some(None));
        headers.append(REPEAT_KEY, key(b"k"));
        let taken = key_of(&anyone(), &headers).ok().flatten();
        assert_eq!(taken.as_ref().map(RequestId::as_str), Some("key/k"));
        headers.append(REPEAT_KEY, key(b"k"));
        assert!(key_of(&anyone(), &headers).is_err(), "given twice");
        for odd in [&b""[..], b"\xff", &[b'k'; 129], b"a\tb"] {
            headers.insert(REPEAT_KEY, key(odd));
            assert!(key_of(&anyone(), &headers).is_err(), "{odd:?}");
        }
    }
}
