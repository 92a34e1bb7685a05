//! A node that other machines can reach is protected, or its operator says otherwise; and commands reach a protected node.
//! Without this a typo opens a cluster to its network, or nobody can use a cluster that is closed.

use std::process::Output;

use snapledger::client::{ClientError, Credentials, Ledger, Operation, Options};
use snapledger::tls::client::{ClientFiles, ClientTls};

use crate::permissions::Place;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn refused(place: &Place, arguments: &[&str], code: i32, sentence: &str) {
    let ran = place.run(arguments);
    let stderr = stderr(&ran);
    assert!(
        stderr.contains(sentence),
        "{arguments:?}: `{sentence}` in: {stderr}"
    );
    assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {stderr}");
}

fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["account", "deposit", "alice", "5"][..], more].concat()
}

#[test]
fn a_node_for_other_machines_starts_only_with_protection_or_a_word() {
    let place = Place::new("022");
    let (grpc, rest) = (place.grpc.to_string(), place.rest.to_string());
    let open = ["--host", "0.0.0.0", "--advertise", "n1.example.org"];
    let node = [
        "node",
        "--node-id",
        "n1",
        "--port",
        &grpc,
        "--rest-port",
        &rest,
    ];
    let node = [&node[..], &["--dir", "store"], &open].concat();
    refused(&place, &node, 2, "this node lacks TLS and authentication");
    refused(
        &place,
        &node,
        2,
        "snapledger cert node --id n1 --host n1.example.org\n",
    );
    assert!(!place.at("store").exists(), "nothing was touched");

    let more = [&open[..], &["--insecure"]].concat();
    let running = place.node_with("store", &more);
    let status = place.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("without TLS and authentication"),
        "{status}"
    );
    let metrics = place.metrics();
    assert!(metrics.contains("snapledger_insecure 1\n"), "{metrics}");
    let log = running.stop();
    assert!(
        log.contains("runs without TLS and authentication (--insecure)"),
        "{log}"
    );
    let running = place.node_with("store", &[]);
    assert!(place.metrics().contains("snapledger_insecure 0\n"));
    assert!(!running.stop().contains("--insecure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_a_node_over_tls() {
    let place = Place::new("022");
    for (dir, cluster) in [("certs", "demo"), ("other", "demo")] {
        place.succeeds(&["cert", "init", "--cluster", cluster, "--dir", dir]);
    }
    place.succeeds(&["cert", "node", "--id", "n1", "--host", "127.0.0.1"]);
    place.succeeds(&["cert", "client", "--name", "ops"]);
    place.succeeds(&["cert", "client", "--name", "ops", "--dir", "other"]);
    let tls = [
        "--tls-cert",
        "certs/n1.crt",
        "--tls-key",
        "certs/n1.key",
        "--tls-ca",
        "certs/ca.crt",
    ];
    let running = place.node_with("store", &tls);
    let (rest, grpc) = (place.rest, place.grpc);
    let at = format!("https://127.0.0.1:{rest}");
    let of = |cert: &'static str, key: &'static str| ["--cert", cert, "--key", key];
    let trusted = ["--rest", &at, "--ca", "certs/ca.crt"];
    place.succeeds(&ask(&trusted));
    place.succeeds(&ask(
        &[&trusted[..], &of("certs/ops.crt", "certs/ops.key")].concat()
    ));
    place.succeeds(&[&["status"][..], &trusted].concat());
    place.succeeds(&[&["snapshot", "take", "--id", "s"][..], &trusted].concat());
    place.succeeds(&[&["backup", "--into", "copy"][..], &trusted].concat());
    place.succeeds(&[&["snapshot", "export", "s"][..], &trusted].concat());

    // Each mistake says what to do.
    refused(&place, &ask(&["--rest", &at]), 2, "add --ca FILE");
    refused(
        &place,
        &ask(&["--rest", &at, "--ca", "other/ca.crt"]),
        1,
        "give the ca.crt of its cluster",
    );
    let by_name = format!("https://localhost:{rest}");
    let by_name = ["--rest", &by_name, "--ca", "certs/ca.crt"];
    refused(
        &place,
        &ask(&by_name),
        1,
        "a name that `snapledger cert show` lists",
    );
    let stranger = [&trusted[..], &of("other/ops.crt", "other/ops.key")].concat();
    refused(&place, &ask(&stranger), 1, "with --cert and --key");
    let plain = format!("http://127.0.0.1:{rest}");
    refused(
        &place,
        &ask(&["--rest", &plain]),
        1,
        "use https:// and give its CA",
    );

    let orders = "op,process,account,to_process,to_account,amount\ndeposit,n1,bob,,,1.00\n";
    std::fs::write(place.at("orders.csv"), orders).expect("there is room");
    let url = format!("https://127.0.0.1:{grpc}");
    let replay = ["replay", "orders.csv", "--patience", "1s", "--grpc", &url];
    place.succeeds(&[&replay[..], &["--ca", "certs/ca.crt"]].concat());
    let other = [&replay[..], &["--ca", "other/ca.crt"]].concat();
    refused(&place, &other, 1, "give the ca.crt of its cluster");

    the_library_reaches_it(&place, &url).await;
    running.stop();
}

async fn the_library_reaches_it(place: &Place, url: &str) {
    let files = ClientFiles::trusting(&place.at("certs/ca.crt"));
    let credentials = Credentials {
        tls: Some(ClientTls::load(&files).expect("it was made above")),
        token: None,
    };
    let ledger = Ledger::connect_with(url, &credentials, Options::default()).expect("a URL");
    let paid = ledger.apply(Operation::deposit("carol", 7)).await;
    assert_eq!(paid.expect("it is trusted").balance, 7);
    let plain = Ledger::connect(url, Options::default());
    assert!(matches!(plain, Err(ClientError::Url(_))), "it needs TLS");
}
