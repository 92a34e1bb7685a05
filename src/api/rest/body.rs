//! Request input: JSON bodies, path segments and idempotency keys.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::error::Failure;

/// The largest body in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// The expected form of a body, so that errors can describe it instead of quoting the parser.
pub(super) trait Shape: DeserializeOwned {
    /// A valid body.
    const EXAMPLE: &'static str;
    /// Its fields, in the order in which errors list them.
    const FIELDS: &'static [Field];
}

/// A field of a body.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) is_required: bool,
    pub(super) kind: Kind,
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Minor units.
    Units,
}

impl Field {
    pub(super) const fn required(name: &'static str, kind: Kind) -> Self {
        let is_required = true;
        Self {
            name,
            is_required,
            kind,
        }
    }

    pub(super) const fn optional(name: &'static str, kind: Kind) -> Self {
        let is_required = false;
        Self {
            name,
            is_required,
            kind,
        }
    }

    fn takes(&self, value: &Value) -> bool {
        match self.kind {
            _ if value.is_null() => !self.is_required,
            Kind::Text => value.is_string(),
            Kind::Units => value.as_i64().is_some(),
        }
    }
}

impl Kind {
    fn expected(self) -> &'static str {
        match self {
            Self::Text => "must be a string",
            Self::Units => "must be a whole number of minor units that fits 64 bits, not in quotes",
        }
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: Shape> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let is_json = declares_json(request.headers())?;
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            let why = format!(
                "is missing; send a JSON object, such as {}, with the header Content-Type: application/json",
                T::EXAMPLE
            );
            return Err(Failure::malformed("body", why));
        }
        check_declared(is_json)?;
        parse(&bytes).map(Self)
    }
}

/// An optional JSON body.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: Shape + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let is_json = declares_json(request.headers())?;
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        check_declared(is_json)?;
        parse(&bytes).map(Self)
    }
}

// Another type than JSON is refused also without a body: it is what the form of a web page sends. A request without body
// and without type is what simple clients send.
fn declares_json(headers: &HeaderMap) -> Result<bool, Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(false);
    };
    let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("");
    if essence.trim().eq_ignore_ascii_case("application/json") {
        return Ok(true);
    }
    Err(Failure::MediaType(format!("of type {:?}", essence.trim())))
}

fn check_declared(is_json: bool) -> Result<(), Failure> {
    match is_json {
        true => Ok(()),
        false => Err(Failure::MediaType("of undeclared type".to_owned())),
    }
}

pub(super) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    let bytes = Bytes::from_request(request, state).await;
    bytes.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::BodyTooLarge(BODY_BYTES_MAX),
        _ => Failure::malformed("body", "ended early; send the whole body"),
    })
}

fn parse<T: Shape>(bytes: &[u8]) -> Result<T, Failure> {
    // serde would accept a list as the fields of a struct in order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        let why = format!("is a list; send an object, such as {}", T::EXAMPLE);
        return Err(Failure::malformed("body", why));
    }
    serde_json::from_slice(bytes).map_err(|_| misread::<T>(bytes))
}

/// The first fault of a body.
fn misread<T: Shape>(bytes: &[u8]) -> Failure {
    let example = T::EXAMPLE;
    let whole = |why: String| Failure::malformed("body", format!("{why}, such as {example}"));
    let fields = match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return whole("is not an object; send one with named fields".to_owned()),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            return whole(format!(
                "is not valid JSON: the error is at line {line}, column {column}; send one object"
            ));
        }
    };
    let is_known = |name: &str| T::FIELDS.iter().any(|field| field.name == name);
    if let Some(unknown) = fields.keys().find(|name| !is_known(name)) {
        let names: Vec<&str> = T::FIELDS.iter().map(|field| field.name).collect();
        let names = names.join(", ");
        let why = format!("there is no such field; the body takes {names}, such as {example}");
        return Failure::malformed(unknown.clone(), why);
    }
    for field in T::FIELDS {
        let value = fields.get(field.name);
        let why = match value {
            None if field.is_required => "is missing; it",
            Some(value) if !field.takes(value) => "has another type; it",
            _ => continue,
        };
        let expected = field.kind.expected();
        return Failure::malformed(
            field.name,
            format!("{why} {expected}, such as in {example}"),
        );
    }
    whole("names a field twice; send an object that names each once".to_owned())
}

/// An amount in a body: a 64-bit JSON integer. The bank checks that it is positive.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Units(pub(super) i64);

/// The named segments of a path.
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(segments)| Self(segments))
            .map_err(|_: PathRejection| Failure::malformed("path", super::NOT_UTF_8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Paid {
        amount: Units,
        note: Option<String>,
    }

    impl Shape for Paid {
        const EXAMPLE: &'static str = r#"{"amount": 1000}"#;
        const FIELDS: &'static [Field] = &[
            Field::required("amount", Kind::Units),
            Field::optional("note", Kind::Text),
        ];
    }

    fn refused(body: &str) -> String {
        let refused = parse::<Paid>(body.as_bytes()).expect_err(body).to_string();
        assert!(refused.ends_with(r#"{"amount": 1000}"#), "{refused}");
        refused
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
            let refused = refused(&format!(r#"{{"amount":{odd}}}"#));
            assert!(refused.starts_with("amount: has another type"), "{refused}");
        }
    }

    // Without this a client sees the parser's message about Rust types instead of what to send.
    #[test]
    fn what_is_wrong_is_said_with_its_field_and_an_example() {
        let nested = format!(r#"{{"amount":{}"#, "[".repeat(100_000));
        for (odd, why) in [
            (
                r#"{"amount":1,"tip":2}"#,
                "tip: there is no such field; the body takes amount, note",
            ),
            ("{}", "amount: is missing; it must be a whole number"),
            ("", "body: is not valid JSON"),
            (
                "{\n\"amount\":",
                "body: is not valid JSON: the error is at line 2, column 9",
            ),
            (&nested, "body: is not valid JSON"),
            (r#"{"amount":1}x"#, "body: is not valid JSON"),
            (" [1]", "body: is a list"),
            ("null", "body: is not an object"),
            ("\"x\"", "body: is not an object"),
            (
                r#"{"amount":1,"note":5}"#,
                "note: has another type; it must be a string",
            ),
            (r#"{"amount":1,"amount":2}"#, "body: names a field twice"),
        ] {
            let refused = refused(odd);
            assert!(refused.starts_with(why), "{refused}");
        }
        let paid: Paid = parse(br#"{"amount":1,"note":null}"#).expect("it may be left out");
        assert_eq!((paid.amount.0, paid.note), (1, None));
    }
}
