//! The names of a certificate are names of its node. Without this each `--host` has to be written into `api.hosts` again.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::certificates::{cert, text};
use crate::cluster::Cluster;
use crate::rotation::{TAKEN, replace};

// The pair of n1 for a name, in another directory.
fn issue(cluster: &Cluster, host: &str, out: &Path) {
    let dir = text(&cluster.certificates.dir);
    let hosts = ["--host", "127.0.0.1", "--host", host];
    let dirs = ["--dir", dir, "--out", text(out)];
    cert(&[&["node", "--id", "n1"][..], &hosts, &dirs].concat());
}

async fn status(cluster: &Cluster, host: &str) -> u16 {
    let client = cluster.certificates.trusting(None);
    let socket = client.open(&cluster.rest_address("n1")).await;
    let mut socket = socket.expect("its address is in the certificate");
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let sent = socket.write_all(request.as_bytes()).await;
    sent.expect("it is open");
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer).await;
    read.expect("the answer is whole");
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.expect("a status")
}

#[tokio::test]
async fn a_name_of_the_certificate_is_a_name_of_the_node_also_after_a_renewal() {
    let mut cluster = Cluster::planned();
    let [first, next] = ["first", "next"].map(|name| cluster.dir().join(name));
    issue(&cluster, "Ledger.example.org", &first);
    issue(&cluster, "*.bank.example", &next);
    let certs = cluster.certificates.dir.clone();
    let renew = |from: &Path| {
        for file in ["n1.key", "n1.crt"] {
            replace(&from.join(file), &certs.join(file));
        }
    };
    renew(&first);
    cluster.start("n1");
    cluster.says("n1", "ready: grpc", 0).await;
    for (host, expected) in [
        ("ledger.example.org", 200),
        ("LEDGER.example.org.:7201", 200),
        ("evil.example", 421),
        ("n1.bank.example", 421),
    ] {
        assert_eq!(status(&cluster, host).await, expected, "{host}");
    }
    renew(&next);
    cluster.says("n1", TAKEN, 0).await;
    for (host, expected) in [
        ("n1.bank.example", 200),
        ("n1.eu.bank.example", 421),
        ("bank.example", 421),
        ("ledger.example.org", 421),
    ] {
        assert_eq!(status(&cluster, host).await, expected, "{host}");
    }
}
