//! The dialect of Google Cloud Storage. Its XML API is that of S3, but for two things: a token in the place of a signature, and a
//! condition of its own for objects that must not exist.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue, IF_NONE_MATCH};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

const CONDITION: &str = "x-goog-if-generation-match";
const EMAIL: &str = "archive@ledger.example";

/// A service account with a key, which signs the tokens of its requests itself.
pub(crate) struct ServiceAccount {
    private_key: String,
    modulus: String,
}

impl ServiceAccount {
    /// Makes one; `None` without openssl.
    pub(crate) fn new() -> Option<Self> {
        let private_key = openssl(&["genrsa", "2048"], b"")?;
        let modulus = openssl(&["rsa", "-noout", "-modulus"], private_key.as_bytes())?;
        let modulus = hex::decode(modulus.trim().trim_start_matches("Modulus=")).ok()?;
        Some(Self {
            private_key,
            modulus: URL_SAFE_NO_PAD.encode(modulus),
        })
    }

    /// The file that Google gives out for an account.
    pub(crate) fn file(&self) -> String {
        let file = json!({
            "type": "service_account", "client_email": EMAIL, "private_key_id": "key", "private_key": self.private_key,
        });
        file.to_string()
    }

    /// Makes the headers those of S3; false if the token is not of this account.
    pub(super) fn translate(&self, headers: &mut HeaderMap) -> bool {
        let told = headers.remove(AUTHORIZATION);
        let token = told.as_ref().and_then(|told| told.to_str().ok());
        let token = token.and_then(|told| told.strip_prefix("Bearer "));
        // Generation 0: there is no such object.
        if headers.remove(CONDITION).is_some_and(|is| is == "0") {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        token.is_some_and(|token| self.has_signed(token))
    }

    fn has_signed(&self, token: &str) -> bool {
        let key = DecodingKey::from_rsa_components(&self.modulus, "AQAB").expect("a key");
        let mut rules = Validation::new(Algorithm::RS256);
        rules.validate_aud = false;
        rules.set_issuer(&[EMAIL]);
        decode::<Value>(token, &key, &rules).is_ok()
    }
}

// ring makes no RSA keys; the tool does.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<String> {
    let mut command = Command::new("openssl");
    let child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.ok()?;
    child.stdin.take()?.write_all(input).ok()?;
    String::from_utf8(child.wait_with_output().ok()?.stdout).ok()
}
