//! Requests as a browser sends them for a foreign page, on real sockets and both ports, and the headers of every answer.
//! Without this any web page could use a node that the browser's machine reaches.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tonic::transport::Endpoint;
use tonic::{Code, Request};

use snapledger::proto::chandy_lamport::GetClusterStatusRequest;
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;

use crate::nodes::Cluster;

/// Of every answer on the REST port, and of every one on the gRPC port that is not gRPC.
const HEADERS: [&str; 6] = [
    "x-content-type-options: nosniff",
    "referrer-policy: no-referrer",
    "cross-origin-resource-policy: same-origin",
    "content-security-policy: default-src 'none'",
    "frame-ancestors 'none'",
    "cache-control: ",
];

// The head of the answer, in lower case, and the body.
async fn raw(address: &str, request: String) -> (String, String) {
    let address = address.to_owned();
    let answered = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    });
    let answer = answered.await.expect("it ends").expect("it is answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_lowercase(), body.to_owned())
}

fn status(head: &str) -> u16 {
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.expect("a status")
}

struct Case {
    request: &'static str,
    /// Lines beside `Host` and `Connection`.
    lines: &'static [&'static str],
    status: u16,
    kind: &'static str,
}

const CASES: &[Case] = &[
    Case {
        request: "POST /v1/snapshots",
        lines: &[
            "Content-Type: application/x-www-form-urlencoded",
            "Content-Length: 0",
        ],
        status: 415,
        kind: "unsupported-media-type",
    },
    Case {
        request: "POST /v1/snapshots",
        lines: &["Origin: http://evil.example", "Content-Length: 0"],
        status: 403,
        kind: "foreign-origin",
    },
    Case {
        request: "POST /v1/snapshots",
        lines: &["Sec-Fetch-Site: cross-site", "Content-Length: 0"],
        status: 403,
        kind: "foreign-origin",
    },
    Case {
        request: "DELETE /v1/snapshots/a/pin",
        lines: &["Origin: null"],
        status: 403,
        kind: "foreign-origin",
    },
    Case {
        request: "PUT /v1/nothing",
        lines: &["Origin: http://evil.example", "Content-Length: 0"],
        status: 403,
        kind: "foreign-origin",
    },
    Case {
        request: "GET /v1/nothing",
        lines: &[],
        status: 404,
        kind: "unknown-route",
    },
    Case {
        request: "DELETE /v1/cluster",
        lines: &[],
        status: 405,
        kind: "method-not-allowed",
    },
    Case {
        request: "GET /v1/%zz",
        lines: &[],
        status: 400,
        kind: "malformed",
    },
    Case {
        request: "OPTIONS /v1/snapshots",
        lines: &["Origin: http://evil.example"],
        status: 405,
        kind: "method",
    },
    Case {
        request: "GET /v1/cluster",
        lines: &["Origin: http://evil.example"],
        status: 200,
        kind: "peers",
    },
    Case {
        request: "GET /v1/cluster",
        lines: &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
        status: 403,
        kind: "foreign-origin",
    },
    Case {
        request: "GET /v1/cluster",
        lines: &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ],
        status: 200,
        kind: "peers",
    },
    Case {
        request: "GET /v1/cluster",
        lines: &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
            "Sec-Purpose: prefetch;prerender",
        ],
        status: 403,
        kind: "foreign-origin",
    },
    Case {
        request: "GET /v1/backup",
        lines: &[
            "Sec-Fetch-Site: same-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ],
        status: 403,
        kind: "foreign-origin",
    },
    Case {
        request: "GET /healthz",
        lines: &[],
        status: 200,
        kind: "live",
    },
    Case {
        request: "GET /metrics",
        lines: &[],
        status: 200,
        kind: "# HELP",
    },
    Case {
        request: "GET /openapi.json",
        lines: &[],
        status: 200,
        kind: "openapi",
    },
    // Without type and body, as `curl -X POST` sends it.
    Case {
        request: "POST /v1/snapshots",
        lines: &["Content-Length: 0"],
        status: 202,
        kind: "in_progress",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_is_refused_and_every_answer_has_its_headers() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    for case in CASES {
        let lines = case.lines.join("\r\n") + if case.lines.is_empty() { "" } else { "\r\n" };
        let request = format!(
            "{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n",
            case.request,
            rest.address()
        );
        let (head, body) = raw(rest.address(), request).await;
        assert_eq!(
            status(&head),
            case.status,
            "{} {lines}: {body}",
            case.request
        );
        assert!(body.contains(case.kind), "{} {lines}: {body}", case.request);
        for header in HEADERS {
            assert!(
                head.contains(header),
                "{header} of {}: {head}",
                case.request
            );
        }
        assert!(!head.contains("access-control-"), "no CORS: {head}");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_port_answers_under_its_own_names_alone() {
    let mut cluster = Cluster::planned(&["n1"])
        .with_host_name("ledger.example")
        .started()
        .await;
    let rest = cluster.rest("n1");
    for (host, expected) in [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:7201", 200),
        ("Ledger.Example", 200),
        ("evil.example", 421),
        ("ledger.example.evil.example", 421),
        ("127.0.0.1.evil.example:7201", 421),
    ] {
        let request =
            format!("GET /v1/cluster HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (head, body) = raw(rest.address(), request).await;
        assert_eq!(status(&head), expected, "{host}: {body}");
        if expected == 421 {
            assert!(body.contains("--api-hosts"), "it names the option: {body}");
            assert!(head.contains("x-request-id: "), "{head}");
        }
    }
    let unnamed = "GET /v1/cluster HTTP/1.0\r\n\r\n".to_owned();
    let (head, _) = raw(rest.address(), unnamed).await;
    assert_eq!(status(&head), 200, "HTTP/1.0 needs no name");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_cannot_call_the_grpc_port() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let address = cluster.grpc_address("n1");
    let request = format!(
        "POST /chandy_lamport.SnapshotService/InitiateSnapshot HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Origin: http://evil.example\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"
    );
    let (head, body) = raw(&address, request).await;
    assert_eq!(status(&head), 403, "{head}");
    assert!(body.contains("foreign-origin"), "{body}");
    for header in HEADERS {
        assert!(head.contains(header), "{header}: {head}");
    }
    // A client may name any authority, but not come from another origin.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URI");
    let alias = "http://any.alias.example".parse().expect("a URI");
    let channel = endpoint.origin(alias).connect_lazy();
    let mut client = KeyValueServiceClient::new(channel);
    let known = client.get_cluster_status(GetClusterStatusRequest {}).await;
    known.expect("an alias is accepted");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let mut request = Request::new(GetClusterStatusRequest {});
        request
            .metadata_mut()
            .insert(name, value.parse().expect("ASCII"));
        let refused = client
            .get_cluster_status(request)
            .await
            .expect_err("foreign");
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    cluster.stop_all().await;
}
