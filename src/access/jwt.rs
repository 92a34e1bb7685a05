//! JWTs of one issuer, checked with the keys of its key set (JWKS).
//!
//! A key is used with its own algorithm alone (RS256, ES256 or EdDSA), never with the one that a token names. Symmetric keys
//! are refused, so a public key can never serve as a secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::caller::{Grant, Via};
use super::role::{Capacity, Role};
use super::settings::JwtSettings;
use super::token_file::{check_grant, check_name};

/// The claim with the beginnings of the accounts.
const ACCOUNTS_CLAIM: &str = "accounts";
/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// The tolerance for clocks of the issuer.
const LEEWAY_SECONDS: i64 = 30;

/// The key set cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}; give the key set (JWKS) of the issuer, with public keys for RS256, ES256 or EdDSA", path.display())]
pub struct KeySetError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// The keys of an issuer.
pub(super) struct Keys(Vec<Arc<Key>>);

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    /// As written, to recognise it in a changed file.
    written: Value,
    /// Dropped with the key, which ends the grants that it proved.
    live: watch::Sender<()>,
}

impl Keys {
    /// Reads a key set; keys that are in `before` are taken over.
    pub(super) fn parse(
        path: &Path,
        bytes: &[u8],
        before: Option<&Self>,
    ) -> Result<Self, KeySetError> {
        let refused = |why: String| KeySetError {
            path: path.to_owned(),
            why,
        };
        let set: Value = serde_json::from_slice(bytes).map_err(|e| refused(e.to_string()))?;
        let written = set["keys"]
            .as_array()
            .ok_or_else(|| refused("there is no list of keys".to_owned()))?;
        let known = |written: &Value| {
            let before = before.into_iter().flat_map(|keys| &keys.0);
            before
                .into_iter()
                .find(|key| key.written == *written)
                .cloned()
        };
        let mut keys = Vec::new();
        for (index, key) in written.iter().enumerate() {
            if let Some(known) = known(key) {
                keys.push(known);
                continue;
            }
            match Key::of(key) {
                Ok(Some(key)) => keys.push(Arc::new(key)),
                // Sets also hold keys for encryption and for other algorithms.
                Ok(None) => {}
                Err(why) => return Err(refused(format!("key {}: {why}", index + 1))),
            }
        }
        match keys.is_empty() {
            true => Err(refused("no key can be used".to_owned())),
            false => Ok(Self(keys)),
        }
    }

    /// The rights that a token proves.
    ///
    /// # Errors
    /// A sentence that says why it is refused.
    pub(super) fn verify(&self, token: &str, settings: &JwtSettings) -> Result<Grant, String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("the token is longer than {TOKEN_BYTES_MAX} bytes"));
        }
        let no_jwt = "the token is not a JWT with RS256, ES256 or EdDSA";
        let header = decode_header(token).map_err(|_| no_jwt.to_owned())?;
        check_extensions(token).ok_or(no_jwt)??;
        let key = self.find(header.kid.as_deref())?;
        let mut validation = Validation::new(key.algorithm);
        // The claims are checked below: the crate does not read numbers of arbitrary precision.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = decode::<Map<String, Value>>(token, &key.decoding, &validation);
        let claims = decoded
            .map_err(|_| "the signature of the token is wrong".to_owned())?
            .claims;
        check_claims(&claims, settings)?;
        grant(&claims, settings, key)
    }

    fn find(&self, id: Option<&str>) -> Result<&Key, String> {
        match (id, &*self.0) {
            (None, [only]) => Ok(only),
            (None, _) => Err("the token names no key (kid), and the issuer has several".to_owned()),
            (Some(id), keys) => {
                let mut keys = keys.iter();
                let found = keys.find(|key| key.id.as_deref() == Some(id));
                found
                    .map(|key| &**key)
                    .ok_or_else(|| "the issuer has no such key (kid)".to_owned())
            }
        }
    }
}

impl Key {
    // `None` for a key that signs nothing here.
    fn of(written: &Value) -> Result<Option<Self>, String> {
        if written["kty"] == "oct" {
            return Err("is symmetric; a key set of an issuer has public keys".to_owned());
        }
        let Ok(jwk) = serde_json::from_value::<Jwk>(written.clone()) else {
            return Ok(None);
        };
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return Ok(None),
        };
        let (algorithm, named) = algorithm;
        let is_other = jwk.common.key_algorithm.is_some_and(|given| given != named);
        let is_for_signatures = jwk
            .common
            .public_key_use
            .as_ref()
            .is_none_or(|used| *used == PublicKeyUse::Signature);
        if is_other || !is_for_signatures {
            return Ok(None);
        }
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
        Ok(Some(Self {
            id: jwk.common.key_id,
            algorithm,
            decoding,
            written: written.clone(),
            live: watch::Sender::new(()),
        }))
    }
}

// A header that demands extensions is refused unless all are understood (RFC 7515 §4.1.11), and none is here. `None` if there
// is no header.
fn check_extensions(token: &str) -> Option<Result<(), String>> {
    let (header, _) = token.split_once('.')?;
    let header: Map<String, Value> =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    Some(match header.get("crit") {
        None => Ok(()),
        Some(demanded) => Err(format!(
            "the token demands extensions that this node does not support (crit: {demanded}); issue it without crit"
        )),
    })
}

fn check_claims(claims: &Map<String, Value>, settings: &JwtSettings) -> Result<(), String> {
    let now = Timestamp::now().as_second();
    if claims.get("iss").and_then(Value::as_str) != Some(&*settings.issuer) {
        return Err("the token is not of the configured issuer (iss)".to_owned());
    }
    let audience = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|one| *one == *settings.audience),
        Some(one) => *one == *settings.audience,
        None => false,
    };
    if !audience {
        return Err("the token is for another audience (aud)".to_owned());
    }
    let end = seconds(claims, "exp").ok_or("the token has no end (exp)")?;
    if end + LEEWAY_SECONDS <= now {
        return Err("the token has expired (exp)".to_owned());
    }
    check_lifetime(claims, end, settings.lifetime_max)?;
    let begins = match claims.get("nbf") {
        None => now,
        Some(_) => {
            seconds(claims, "nbf").ok_or("the beginning of the token (nbf) is not a time")?
        }
    };
    match begins > now + LEEWAY_SECONDS {
        true => Err("the token is not yet valid (nbf)".to_owned()),
        false => Ok(()),
    }
}

// From the issue of the token, or from now if it does not say when or says a time to come.
fn check_lifetime(claims: &Map<String, Value>, end: i64, max: Duration) -> Result<(), String> {
    let now = Timestamp::now().as_second();
    let issued = match claims.get("iat") {
        None => now,
        Some(_) => seconds(claims, "iat").ok_or("the issue of the token (iat) is not a time")?,
    };
    let lifetime = end - issued.min(now);
    let max = i64::try_from(max.as_secs()).unwrap_or(i64::MAX);
    match lifetime <= max.saturating_add(LEEWAY_SECONDS) {
        true => Ok(()),
        false => Err(format!(
            "the token is valid for {lifetime} s (from iat to exp), and this node accepts {max} s at most; issue shorter \
             ones, or raise auth.jwt_lifetime_max"
        )),
    }
}

// A time may have a fraction (RFC 7519 §2). Far times are cut to what the arithmetic holds.
fn seconds(claims: &Map<String, Value>, claim: &str) -> Option<i64> {
    const FAR: i64 = 1 << 40;
    let value = claims.get(claim)?;
    let whole = value.as_i64().or_else(|| {
        let text = value.as_number()?.to_string();
        text.split('.').next()?.parse().ok()
    });
    whole.map(|seconds| seconds.clamp(-FAR, FAR))
}

fn grant(claims: &Map<String, Value>, settings: &JwtSettings, key: &Key) -> Result<Grant, String> {
    let name = claims
        .get("sub")
        .and_then(Value::as_str)
        .unwrap_or_default();
    check_name(name).map_err(|why| format!("the token has no usable name (sub): {why}"))?;
    let claim = &settings.role_claim;
    let role = claims
        .get(claim)
        .and_then(Value::as_str)
        .and_then(Role::named);
    let role = role.ok_or_else(|| {
        format!("the token has no role (claim {claim}: teller, auditor or operator)")
    })?;
    let accounts: Vec<String> = match claims.get(ACCOUNTS_CLAIM) {
        None => Vec::new(),
        Some(given) => serde_json::from_value(given.clone())
            .map_err(|_| "the claim accounts is not a list of texts".to_owned())?,
    };
    let is_bound_to_none = claims.contains_key(ACCOUNTS_CLAIM) && accounts.is_empty();
    if is_bound_to_none {
        return Err("the claim accounts is an empty list, so the token allows nothing".to_owned());
    }
    check_grant(name, role, &accounts)?;
    let expires =
        seconds(claims, "exp").and_then(|at| Timestamp::from_second(at + LEEWAY_SECONDS).ok());
    Ok(Grant {
        name: name.to_owned(),
        via: Via::Jwt,
        capacity: Capacity::Role(role),
        accounts,
        expires,
        live: key.live.subscribe(),
    })
}
