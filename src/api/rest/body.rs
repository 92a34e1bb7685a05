//! What comes in: bodies of JSON, segments of paths, keys that make a repeat harmless.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::error::Failure;

/// The largest body in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let media_type = check_media_type(request.headers());
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            let why = "is missing; send an object of JSON, with the header Content-Type: application/json, as /docs \
                       shows it";
            return Err(Failure::malformed("body", why));
        }
        media_type?;
        parse(&bytes).map(Self)
    }
}

/// A body of JSON that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let media_type = check_media_type(request.headers());
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        media_type?;
        parse(&bytes).map(Self)
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(Failure::MediaType("of no named type".to_owned()));
    };
    let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("");
    if essence.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::MediaType(format!("of type {:?}", essence.trim())))
}

pub(super) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    let bytes = Bytes::from_request(request, state).await;
    bytes.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::BodyTooLarge(BODY_BYTES_MAX),
        _ => Failure::malformed("body", rejection.body_text()),
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // serde would take a list for the fields of a struct in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        let why = "is a list; send an object with named fields";
        return Err(Failure::malformed("body", why));
    }
    serde_json::from_slice(bytes).map_err(|why| Failure::malformed("body", why))
}

/// An amount in a body: a JSON integer of 64 bits. Whether it is positive is for the bank to say.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Units(#[serde(deserialize_with = "units")] pub(super) i64);

fn units<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    i64::deserialize(deserializer).map_err(|why| {
        serde::de::Error::custom(format!(
            "amount must be a JSON integer of minor units that fits 64 bits: {why}"
        ))
    })
}

/// The segments of a path that were named in its route.
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(segments)| Self(segments))
            .map_err(|rejection: PathRejection| Failure::malformed("path", rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Paid {
        amount: Units,
    }

    #[test]
    fn an_amount_is_an_integer_and_nothing_like_it() {
        let paid: Paid = parse(br#"{"amount":-9223372036854775808}"#).expect("it fits");
        assert_eq!(paid.amount.0, i64::MIN);
        for odd in [
            "1.0",
            "\"1\"",
            "null",
            "9223372036854775808",
            "1e3",
            "[1]",
            "true",
        ] {
            let json = format!(r#"{{"amount":{odd}}}"#);
            let refused = parse::<Paid>(json.as_bytes()).expect_err(odd).to_string();
            assert!(refused.contains("amount must be"), "{refused}");
        }
    }

    #[test]
    fn unknown_fields_lists_and_endless_nesting_are_refused() {
        let nested = format!(r#"{{"amount":{}"#, "[".repeat(100_000));
        for odd in [
            r#"{"amount":1,"tip":2}"#,
            "{}",
            "",
            "{",
            &nested,
            r#"{"amount":1}x"#,
            " [1]",
        ] {
            assert!(parse::<Paid>(odd.as_bytes()).is_err());
        }
    }
}
