//! JWTs of a configured issuer: the three algorithms, every claim, and the known ways to forge one.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};
use snapledger::access::authority::Authority;
use snapledger::access::settings::{AuthSettings, JwtSettings};

use crate::await_it::until;
use crate::guarded::Guarded;
use crate::required;

/// A key of the issuer.
struct Key {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn elliptic(id: &'static str) -> Key {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let point = pair.public_key_raw();
    let (x, y) = (text(&point[1..33]), text(&point[33..]));
    Key {
        id,
        algorithm: Algorithm::ES256,
        private: EncodingKey::from_ec_der(&pair.serialize_der()),
        public: json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256", "x": x, "y": y}),
    }
}

fn edwards(id: &'static str) -> Key {
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let x = text(pair.public_key_raw());
    Key {
        id,
        algorithm: Algorithm::EdDSA,
        private: EncodingKey::from_ed_der(&pair.serialize_der()),
        public: json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x}),
    }
}

// ring makes no RSA keys; the tool does.
fn rsa(id: &'static str) -> Option<Key> {
    let openssl = |arguments: &[&str], input: &[u8]| {
        let mut command = Command::new("openssl");
        let child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.ok()?;
        child.stdin.take()?.write_all(input).ok()?;
        Some(child.wait_with_output().ok()?.stdout)
    };
    let pem = openssl(&["genrsa", "2048"], b"")?;
    let der = openssl(&["rsa", "-traditional", "-outform", "DER"], &pem)?;
    let modulus = String::from_utf8(openssl(&["rsa", "-noout", "-modulus"], &pem)?).ok()?;
    let modulus = hex::decode(modulus.trim().trim_start_matches("Modulus=")).ok()?;
    Some(Key {
        id,
        algorithm: Algorithm::RS256,
        private: EncodingKey::from_rsa_der(&der),
        public: json!({"kty": "RSA", "kid": id, "alg": "RS256", "n": text(&modulus), "e": "AQAB"}),
    })
}

fn write(path: &Path, keys: &[&Key]) {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
    std::fs::write(path, json!({ "keys": keys }).to_string()).expect("there is room");
}

fn claims() -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "iss": "https://issuer.example", "aud": ["other", "snapledger"], "sub": "erika", "exp": now + 600, "nbf": now - 5,
        "snapledger_role": "teller",
    })
}

fn signed(key: &Key, claims: &Value) -> String {
    let mut header = Header::new(key.algorithm);
    header.kid = Some(key.id.to_owned());
    encode(&header, claims, &key.private).expect("it is signed")
}

// With a header that the library does not know.
fn signed_parts(key: &Key, header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| text(part.to_string().as_bytes()));
    let message = format!("{header}.{claims}");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.private, key.algorithm);
    format!("{message}.{}", signature.expect("it is signed"))
}

async fn node(keys: &[&Key]) -> Guarded {
    Guarded::start_with(|dir, auth| {
        let path = dir.join("jwks.json");
        write(&path, keys);
        auth.auth_jwt_keys = Some(path);
        auth.auth_jwt_issuer = Some("https://issuer.example".to_owned());
        auth.auth_jwt_audience = Some("snapledger".to_owned());
    })
    .await
}

async fn status(node: &Guarded, token: &str) -> (u16, String) {
    let answer = node.send("GET", "/v1/cluster", Some(token), None).await;
    (answer.status, answer.challenge)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jwt_counts_with_each_algorithm_and_its_accounts_bind() {
    let (ec, ed) = (elliptic("ec"), edwards("ed"));
    let Some(rsa) = rsa("rsa") else {
        return required::absent("openssl");
    };
    let node = node(&[&ec, &ed, &rsa]).await;
    for key in [&ec, &ed, &rsa] {
        let known = status(&node, &signed(key, &claims())).await;
        assert_eq!(known.0, 200, "{:?}: {known:?}", key.algorithm);
    }
    let mut bound = claims();
    bound["accounts"] = json!(["branch-7/"]);
    let bound = signed(&ec, &bound);
    let paid = Some(json!({"amount": 5}));
    let own = node
        .send(
            "POST",
            "/v1/accounts/branch-7%2Fa/deposits",
            Some(&bound),
            paid.clone(),
        )
        .await;
    assert_eq!(own.status, 200, "{own:?}");
    let other = node
        .send(
            "POST",
            "/v1/accounts/branch-8%2Fa/deposits",
            Some(&bound),
            paid,
        )
        .await;
    assert_eq!((other.status, other.problem()), (403, "not-your-account"));
    let audit = node.send("GET", "/v1/audit", Some(&bound), None).await;
    assert_eq!((audit.status, audit.problem()), (403, "role-needed"));
    let line = node
        .trail()
        .into_iter()
        .find(|line| line["action"] == "deposit")
        .expect("a line");
    assert_eq!(
        (&line["name"], &line["via"]),
        (&json!("erika"), &json!("jwt"))
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_claim_is_refused_with_its_name() {
    let key = elliptic("ec");
    let node = node(&[&key]).await;
    let now = jiff::Timestamp::now().as_second();
    for (claim, value, why) in [
        ("iss", json!("https://evil.example"), "iss"),
        ("iss", json!(null), "iss"),
        ("aud", json!("other"), "aud"),
        ("aud", json!(["a", "b"]), "aud"),
        ("aud", json!(null), "aud"),
        ("exp", json!(now - 60), "expired"),
        ("exp", json!(null), "exp"),
        ("exp", json!("9999999999"), "exp"),
        ("nbf", json!(now + 600), "nbf"),
        ("exp", json!(now + 86_400 + 60), "auth.jwt_lifetime_max"),
        ("exp", json!(9_999_999_999.5), "auth.jwt_lifetime_max"),
        ("iat", json!(now - 86_400), "auth.jwt_lifetime_max"),
        ("iat", json!("yesterday"), "iat"),
        ("sub", json!(""), "sub"),
        ("sub", json!("a\u{2028}b"), "sub"),
        ("sub", json!("a\u{202e}b"), "sub"),
        ("sub", json!("a\u{85}b"), "sub"),
        ("snapledger_role", json!("king"), "snapledger_role"),
        ("snapledger_role", json!(null), "snapledger_role"),
        ("accounts", json!("branch-7/"), "accounts"),
        ("accounts", json!([]), "accounts"),
    ] {
        let mut claims = claims();
        claims[claim] = value.clone();
        let (code, challenge) = status(&node, &signed(&key, &claims)).await;
        assert!(
            code == 401 && challenge.contains(why),
            "{claim} {value}: {code} {challenge}"
        );
    }
    let mut exact = claims();
    exact["aud"] = json!("snapledger");
    exact["iat"] = json!(now - 60);
    exact["exp"] = json!(now + 86_340);
    assert_eq!(
        status(&node, &signed(&key, &exact)).await.0,
        200,
        "one audience, the longest lifetime"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_jwt_is_refused() {
    let (key, ed) = (elliptic("ec"), edwards("ed"));
    let node = node(&[&key, &ed]).await;
    let good = signed(&key, &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let header = |header: Value| text(header.to_string().as_bytes());
    let none = header(json!({"alg": "none", "typ": "JWT", "kid": "ec"}));
    let mut operator = claims();
    operator["snapledger_role"] = json!("operator");
    let payload = text(operator.to_string().as_bytes());
    // The public key as the secret of an HMAC.
    let point = key.public["x"].as_str().expect("a point");
    let mut hmac_header = Header::new(Algorithm::HS256);
    hmac_header.kid = Some("ec".to_owned());
    let hmac = encode(
        &hmac_header,
        &operator,
        &EncodingKey::from_secret(point.as_bytes()),
    );
    let impostor = Key {
        id: "ec",
        ..elliptic("other")
    };
    let swapped = Key {
        id: "ec",
        ..edwards("other")
    };
    let stranger = elliptic("stranger");
    for (what, forged) in [
        ("without signature", format!("{none}.{payload}.")),
        (
            "its signature cut off",
            format!("{}.{}.", parts[0], parts[1]),
        ),
        (
            "another payload",
            format!("{}.{payload}.{}", parts[0], parts[2]),
        ),
        ("an HMAC with the public key", hmac.expect("it is signed")),
        ("another key of the same name", signed(&impostor, &claims())),
        (
            "another algorithm under the name of the key",
            signed(&swapped, &claims()),
        ),
        (
            "a key that the issuer does not have",
            signed(&stranger, &claims()),
        ),
        ("no key named among several", {
            let header = Header::new(Algorithm::ES256);
            encode(&header, &claims(), &key.private).expect("it is signed")
        }),
        ("not a JWT", "a.b.c".to_owned()),
        ("an extension that must be understood", {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some("ec".to_owned());
            let mut header = serde_json::to_value(&header).expect("JSON");
            header["crit"] = json!(["exp"]);
            signed_parts(&key, &header, &claims())
        }),
        ("too long", format!("{good}{}", "A".repeat(9000))),
    ] {
        assert_eq!(status(&node, &forged).await.0, 401, "{what}");
    }
    assert_eq!(status(&node, &good).await.0, 200);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_leaves_the_set_counts_no_longer() {
    let (old, new) = (elliptic("old"), elliptic("new"));
    let node = node(&[&old]).await;
    let path = node.file().with_file_name("jwks.json");
    let (by_old, by_new) = (signed(&old, &claims()), signed(&new, &claims()));
    assert_eq!(status(&node, &by_old).await.0, 200);
    write(&path, &[&old, &new]);
    let both = until("the new key counts", async || {
        (status(&node, &by_new).await.0 == 200).then_some(())
    });
    both.await;
    assert_eq!(
        status(&node, &by_old).await.0,
        200,
        "the old one still does"
    );
    write(&path, &[&new]);
    let one = until("the old key is gone", async || {
        (status(&node, &by_old).await.0 == 401).then_some(())
    });
    one.await;
    node.stop().await;
}

#[test]
fn a_key_set_that_cannot_serve_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("jwks.json");
    for (set, why) in [
        (json!({"keys": []}), "no key can be used"),
        (
            json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}),
            "symmetric",
        ),
        (json!([]), "no list of keys"),
        (
            json!({"keys": [{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}]}),
            "no key can be used",
        ),
    ] {
        std::fs::write(&path, set.to_string()).expect("there is room");
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
        command.current_dir(dir.path()).env_clear();
        command.args([
            "node",
            "--id",
            "n1",
            "--port",
            "1",
            "--rest-port",
            "2",
            "--auth-jwt-issuer",
            "i",
        ]);
        command.args(["--auth-jwt-audience", "a", "--auth-jwt-keys", "jwks.json"]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && said.contains(why),
            "{said}"
        );
    }
}

// Without this a pipe in the place of the key set holds up a thread of the node, or its start, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_in_the_place_of_the_keys_is_refused_and_holds_nothing_up() {
    let (first, second) = (elliptic("first"), edwards("second"));
    let node = node(&[&first]).await;
    let path = node.file().with_file_name("jwks.json");
    let settings = AuthSettings {
        jwt: Some(JwtSettings {
            keys: path.clone(),
            issuer: "https://issuer.example".to_owned(),
            audience: "snapledger".to_owned(),
            role_claim: "snapledger_role".to_owned(),
            lifetime_max: Duration::from_secs(3600),
        }),
        ..AuthSettings::default()
    };
    let authority = Authority::open(settings.clone(), "bank").expect("it is good");
    std::fs::remove_file(&path).expect("it is ours");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
    let refused = Authority::open(settings.clone(), "bank").expect_err("it is a pipe");
    assert!(
        refused
            .to_string()
            .ends_with("is not a regular file; name one"),
        "{refused}"
    );
    // The keys before remain in use.
    authority.reload();
    assert_eq!(status(&node, &signed(&first, &claims())).await.0, 200);
    std::fs::remove_file(&path).expect("it is ours");
    write(&path, &[&first, &second]);
    let later = signed(&second, &claims());
    until("the keys are read again", async || {
        (status(&node, &later).await.0 == 200).then_some(())
    })
    .await;

    let loose = std::fs::Permissions::from_mode(0o664);
    std::fs::set_permissions(&path, loose).expect("it is ours");
    let refused = Authority::open(settings, "bank").expect_err("others can write it");
    assert!(
        refused.to_string().contains("; run: chmod go-w "),
        "{refused}"
    );
    node.stop().await;
}
