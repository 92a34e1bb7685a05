//! Strangers with the tools that anyone has: `openssl s_client` and grpcio. Each is refused, and the node says why.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::certificates::{Certificates, text};
use crate::cluster::Cluster;
use crate::python::python;
use crate::required;

const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const STRANGERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/strangers.py");

/// A certificate that does not make its holder n1.
struct Stranger {
    name: &'static str,
    pair: Option<[PathBuf; 2]>,
    /// Words of the node's log.
    logged: &'static str,
    /// Words of openssl; `None` if the handshake succeeds.
    alert: Option<&'static str>,
}

fn strangers(cluster: &Cluster) -> Vec<Stranger> {
    let ours = &cluster.certificates;
    let others = Certificates::of_cluster(&cluster.dir().join("others"), "bank");
    others.node("n1");
    ours.expired("n1", "expired");
    let pair = |of: &Certificates, name: &str| Some([of.crt(name), of.key(name)]);
    vec![
        Stranger {
            name: "no certificate",
            pair: None,
            logged: "presented no certificate",
            alert: None,
        },
        Stranger {
            name: "the certificate of another CA",
            pair: pair(&others, "n1"),
            logged: "no trusted CA issued the certificate",
            alert: Some("unknown ca"),
        },
        Stranger {
            name: "an expired certificate",
            pair: pair(ours, "expired"),
            logged: "the certificate has expired",
            alert: Some("certificate expired"),
        },
        Stranger {
            name: "the certificate of another process",
            pair: pair(ours, "n2"),
            logged: "has the certificate of snapledger://bank/process/n2, and speaks in the name of process \"n1\"",
            alert: None,
        },
    ]
}

// What openssl says of a handshake, followed by a request.
fn openssl(address: &str, arguments: &[&str]) -> Option<String> {
    let child = Command::new("openssl")
        .args(["s_client", "-connect", address, "-ign_eof"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        required::absent("openssl");
        return None;
    };
    let mut stdin = child.stdin.take().expect("it is piped");
    // openssl may have ended already.
    let _ended =
        stdin.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn openssl_is_refused_at_the_handshake_and_the_node_says_why() {
    let cluster = Cluster::up().await;
    let ca = cluster.certificates.ca();
    for stranger in strangers(&cluster) {
        let behind = cluster.log("n3").len();
        let mut arguments = vec!["-CAfile", text(&ca)];
        if let Some([crt, key]) = &stranger.pair {
            arguments.extend(["-cert", text(crt), "-key", text(key)]);
        }
        let Some(said) = openssl(&cluster.rest_address("n3"), &arguments) else {
            return;
        };
        match stranger.alert {
            Some(alert) => {
                assert!(said.contains(alert), "{}: {said}", stranger.name);
                assert!(!said.contains("HTTP/1.1 200"), "{}: {said}", stranger.name);
                cluster.says("n3", stranger.logged, behind).await;
            }
            // The identity matters to calls; this one needs none.
            None => assert!(said.contains("HTTP/1.1 200"), "{}: {said}", stranger.name),
        }
    }
    for version in ["-tls1_1", "-tls1"] {
        let behind = cluster.log("n3").len();
        let arguments = ["-CAfile", text(&ca), version, "-cipher", "ALL:@SECLEVEL=0"];
        let Some(said) = openssl(&cluster.rest_address("n3"), &arguments) else {
            return;
        };
        assert!(said.contains("alert handshake failure"), "{said}");
        assert!(!said.contains("HTTP/1.1 200"), "{said}");
        cluster
            .says("n3", "no version or cipher of TLS 1.2 or newer", behind)
            .await;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["-CAfile", text(&ca), version, "-verify_return_error"];
        let Some(said) = openssl(&cluster.rest_address("n3"), &arguments) else {
            return;
        };
        assert!(said.contains("HTTP/1.1 200"), "{said}");
    }
    for (reason, count) in [
        ("unknown_ca", 1.0),
        ("expired", 1.0),
        ("version_or_cipher", 2.0),
    ] {
        let line = format!("snapledger_tls_handshakes_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(cluster.metric("n3", &line).await, Some(count), "{reason}");
    }
}

#[tokio::test]
async fn grpcio_cannot_speak_for_a_process_and_the_node_says_why() {
    let cluster = Cluster::up().await;
    let Some(python) = python() else { return };
    let ca = cluster.certificates.ca();
    for stranger in strangers(&cluster) {
        let behind = cluster.log("n3").len();
        let mut command = Command::new(&python);
        command
            .args([STRANGERS, PROTO, &cluster.grpc_address("n3")])
            .arg(&ca);
        command.args(stranger.pair.iter().flatten());
        let output = command.output().expect("Python runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {errors}", stranger.name);
        let answers: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).expect("it prints JSON"))
            .collect();
        assert_eq!(answers.len(), 2, "{said}");
        let code = match stranger.alert {
            Some(_) => "UNAVAILABLE",
            None => "PERMISSION_DENIED",
        };
        for answer in answers {
            assert_eq!(answer["code"], code, "{}: {said}", stranger.name);
        }
        cluster.says("n3", stranger.logged, behind).await;
    }
    cluster.connected().await;
}
