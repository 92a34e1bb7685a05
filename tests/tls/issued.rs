//! `snapledger cert`: what it makes and shows, and what it refuses.

use std::os::unix::fs::PermissionsExt as _;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

use crate::certificates::{Certificates, cert, text};

// The error of a command that must be refused as a wrong use.
fn refused(arguments: &[&str]) -> String {
    let mut command = Command::new(cargo_bin("snapledger"));
    let done = command.arg("cert").args(arguments).assert().code(2);
    String::from_utf8_lossy(&done.get_output().stderr).into_owned()
}

#[test]
fn a_certificate_is_shown_as_it_was_issued() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certificates = Certificates::of_cluster(&dir.path().join("certs"), "bank");
    certificates.node("n1");
    certificates.client("audit 2026");
    let files = ["n1", "audit 2026", "ca"].map(|name| certificates.crt(name));
    let files: Vec<&str> = files.iter().map(|file| text(file)).collect();
    let shown = cert(&[&["show", "--output", "json"][..], &files].concat());
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let [node, client, ca] = [0, 1, 2].map(|index| &shown["certificates"][index]);
    assert_eq!(node["identity"], "snapledger://bank/process/n1");
    let names = ["localhost", "127.0.0.1", "snapledger://bank/process/n1"];
    assert_eq!(node["names"], serde_json::json!(names));
    assert_eq!(node["issuer"], ca["subject"]);
    // A second later it is less than 365 days.
    let days = node["days_left"].as_u64().expect("a number");
    assert!((364..=365).contains(&days), "{days}");
    assert_eq!(client["identity"], "snapledger://bank/client/audit%202026");
    assert_eq!(ca["authority"], true);
    assert_eq!(ca["identity"], Value::Null);
    let table = cert(&["show", files[0]]);
    assert!(table.contains(" days left)"), "{table}");
    for name in ["n1", "audit 2026", "ca"] {
        let metadata = certificates.key(name).metadata().expect("it was made");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

// Nodes and clients refuse a CA that others can write. Without this they refuse what `cert` makes where the umask is 002.
#[test]
fn a_certificate_can_be_changed_by_its_owner_alone_whatever_the_umask() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = r#"umask 000; exec "$0" cert init --cluster bank --dir certs"#;
    let mut shell = Command::new("sh");
    let shell = shell.current_dir(dir.path());
    let program = cargo_bin("snapledger");
    shell.args(["-c", script]).arg(program).assert().success();
    for name in ["ca.crt", "ca.key"] {
        let metadata = dir.path().join("certs").join(name).metadata();
        let found = metadata.expect("it was made").permissions().mode() & 0o777;
        assert_eq!(found, 0o600, "{name}: {found:o}");
    }
}

#[test]
fn nothing_is_overwritten_and_faults_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certificates = Certificates::of_cluster(&dir.path().join("certs"), "bank");
    certificates.node("n1");
    let certs = text(&certificates.dir);
    let before = std::fs::read(certificates.ca()).expect("it was made");
    let empty = dir.path().join("empty");
    for (arguments, words) in [
        (
            &["init", "--cluster", "bank", "--dir", certs][..],
            "another --dir",
        ),
        (
            &["node", "--id", "n1", "--host", "h", "--dir", certs],
            "another --out",
        ),
        (
            &["node", "--id", "n2", "--host", "h:1", "--dir", certs],
            "without a port",
        ),
        (&["node", "--id", "", "--host", "h", "--dir", certs], "--id"),
        (&["client", "--name", "", "--dir", certs], "--name"),
        (
            &["client", "--name", "a", "--dir", text(&empty)],
            "cert init",
        ),
        (
            &["client", "--name", "a", "--dir", certs, "--days", "0"],
            "1 to 36500",
        ),
        (
            &["show", text(&certificates.key("n1"))],
            "BEGIN CERTIFICATE",
        ),
        (&["show", text(&empty)], "cannot be read"),
    ] {
        let sentence = refused(arguments);
        assert!(sentence.contains(words), "{arguments:?}: {sentence}");
    }
    assert_eq!(std::fs::read(certificates.ca()).expect("it stays"), before);
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(certificates.key("ca"), mode).expect("it is ours");
    let sentence = refused(&["client", "--name", "a", "--dir", certs]);
    assert!(sentence.contains("chmod 600"), "{sentence}");
}
