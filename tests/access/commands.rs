//! `snapledger token`, and nodes that refuse to start with a wrong `[auth]`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
    command.current_dir(dir).env_clear().args(arguments);
    command.output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn failed(output: &Output) -> (i32, String) {
    let code = output.status.code().expect("it exits");
    (code, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_token_is_made_listed_and_revoked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    let made = "token create --role teller --accounts branch-7/,branch-8/ --expires 90d --name";
    let made: Vec<&str> = made.split(' ').chain(["till 7"]).collect();
    let made = run(dir, &made);
    let token = stdout(&made);
    assert!(
        token.starts_with("sl_") && token.trim_end().len() == 46,
        "{token}"
    );
    assert!(
        String::from_utf8_lossy(&made.stderr).contains("only time"),
        "{made:?}"
    );
    let file = dir.join("tokens.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(
        !text.contains(token.trim_end().trim_start_matches("sl_")),
        "{text}"
    );
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = "token create --role auditor --name audit-2026 --output json";
    let other: Vec<&str> = other.split(' ').collect();
    let other: Value = serde_json::from_str(&stdout(&run(dir, &other))).expect("JSON");
    assert!(
        other["token"]
            .as_str()
            .is_some_and(|token| token.starts_with("sl_")),
        "{other}"
    );
    let listed = stdout(&run(dir, &["token", "list"]));
    for shown in [
        "till 7",
        "teller",
        "branch-7/, branch-8/",
        "audit-2026",
        "auditor",
    ] {
        assert!(listed.contains(shown), "{shown}: {listed}");
    }
    assert!(!listed.contains("sl_"), "{listed}");
    let listed = stdout(&run(dir, &["token", "list", "--output", "json"]));
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed["tokens"][0]["expired"], false);
    assert!(listed["tokens"][1]["expires"].is_null(), "{listed}");

    let taken = ["token", "create", "--role", "operator", "--name", "till 7"];
    let (code, why) = failed(&run(dir, &taken));
    assert_eq!(code, 1);
    assert!(why.contains("snapledger token renew"), "{why}");
    let (code, why) = failed(&run(dir, &["token", "revoke", "till 7", "--older"]));
    assert!(code == 1 && why.contains("token renew"), "{code}: {why}");
    let renewed = stdout(&run(dir, &["token", "renew", "till 7", "--expires", "1d"]));
    assert!(renewed.starts_with("sl_"), "{renewed}");
    let older = stdout(&run(dir, &["token", "revoke", "till 7", "--older"]));
    assert!(older.contains("the older token of till 7"), "{older}");
    let listed = stdout(&run(dir, &["token", "list"]));
    assert_eq!(listed.matches("till 7").count(), 1, "{listed}");
    stdout(&run(dir, &["token", "revoke", "till 7"]));
    let (code, why) = failed(&run(dir, &["token", "revoke", "till 7"]));
    assert!(
        code == 1 && why.contains("snapledger token list"),
        "{code}: {why}"
    );
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let create = |rest: &[&str]| failed(&run(dir.path(), &[&["token", "create"], rest].concat()));
    for (rest, why) in [
        (
            &["--role", "king", "--name", "a"][..],
            "teller, auditor, operator",
        ),
        (
            &["--role", "auditor", "--name", "a", "--accounts", "b"],
            "only a teller",
        ),
        (&["--role", "teller", "--name", ""], "is not a name"),
        (
            &["--role", "teller", "--name", "a", "--expires", "soon"],
            "--expires",
        ),
        (
            &["--role", "teller", "--name", "a", "--file", "none/t.toml"],
            "none/t.toml",
        ),
    ] {
        let (code, said) = create(rest);
        assert!(code == 2 && said.contains(why), "{rest:?}: {code} {said}");
    }
    let (code, said) = failed(&run(dir.path(), &["token", "list"]));
    assert!(code == 2 && said.contains("tokens.toml"), "{said}");
}

#[test]
fn a_node_with_a_wrong_auth_does_not_start_and_says_why() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    stdout(&run(
        dir,
        &["token", "create", "--role", "teller", "--name", "a"],
    ));
    let node = |rest: &[&str]| {
        let base = ["node", "--id", "n1", "--port", "1", "--rest-port", "2"];
        failed(&run(dir, &[&base[..], rest].concat()))
    };
    for (rest, why) in [
        (&["--auth-tokens", "none.toml"][..], "none.toml"),
        (&["--auth-audit-log", "a.jsonl"], "no client could log in"),
        (&["--auth-jwt-keys", "k"], "--auth-jwt-issuer"),
        (
            &["--auth-tokens", "tokens.toml", "--peers", "n2=127.0.0.1:3"],
            "needs [tls]",
        ),
        (
            &["--auth-tokens", "tokens.toml", "--auth-audit-log", "none/a"],
            "none/a",
        ),
        (
            &[
                "--auth-jwt-keys",
                "k",
                "--auth-jwt-issuer",
                "i",
                "--auth-jwt-audience",
                "a",
            ],
            "JWKS",
        ),
    ] {
        let (code, said) = node(rest);
        assert!(code == 2 && said.contains(why), "{rest:?}: {code} {said}");
        assert!(!dir.join("data").exists(), "before any file is touched");
    }
    let loose = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(dir.join("tokens.toml"), loose).expect("it is ours");
    let (code, said) = node(&["--auth-tokens", "tokens.toml"]);
    assert!(
        code == 2 && said.contains("chmod 600 tokens.toml"),
        "{said}"
    );
}
