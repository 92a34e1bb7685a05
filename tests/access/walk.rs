//! Every route and every method with every role, with none and with an unknown token, and the table of what was allowed.

use axum::body::Bytes;
use prost::Message;
use snapledger::access::role::{Capacity, Need, Role};
use snapledger::access::table::{GRPC, REST, Rule, of_method, of_route};
use tokio::net::TcpStream;

use crate::guarded::Guarded;

#[derive(Message)]
struct FileSet {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
}

/// The methods of all services, from their descriptors.
pub(crate) fn methods() -> Vec<String> {
    let sets = [
        snapledger::proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut found = Vec::new();
    for set in sets {
        let set = FileSet::decode(set).expect("descriptors");
        for file in &set.files {
            for service in &file.services {
                for method in &service.methods {
                    found.push(format!(
                        "/{}.{}/{}",
                        file.package, service.name, method.name
                    ));
                }
            }
        }
    }
    found
}

/// The routes of REST, from the OpenAPI document, which a test compares with the router.
pub(crate) fn routes() -> Vec<(String, String)> {
    let paths = snapledger::api::rest::document()["paths"].as_object();
    let paths = paths.expect("there are paths").iter();
    let operations = paths.flat_map(|(path, operations)| {
        let methods = operations.as_object().expect("an object").keys();
        methods.map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

/// Who calls, in the order of the columns.
const CALLERS: [&str; 5] = ["none", "unknown", "teller", "auditor", "operator"];

fn may(rule: Rule, caller: &str) -> bool {
    match Role::named(caller) {
        _ if rule.need == Need::Public => true,
        Some(role) => rule.allows(Capacity::Role(role)),
        None => false,
    }
}

fn token<'a>(node: &'a Guarded, caller: &str) -> Option<&'a str> {
    match (caller, Role::named(caller)) {
        ("none", _) => None,
        (_, Some(role)) => Some(node.token(role)),
        _ => Some("sl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    }
}

fn show(call: &str, allowed: &[bool]) {
    let marks: Vec<String> = allowed
        .iter()
        .zip(CALLERS)
        .map(|(allowed, caller)| format!("{:>9}", if *allowed { caller } else { "-" }))
        .collect();
    println!("{call:<75}{}", marks.concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_open_to_the_roles_of_the_table_alone() {
    let node = Guarded::start().await;
    for (method, path) in routes() {
        let call = format!("{method} {path}");
        let rule = of_route(&method, &path);
        let rule =
            rule.unwrap_or_else(|| unreachable!("{call}: write its need into src/access/table.rs"));
        let mut allowed = Vec::new();
        for caller in CALLERS {
            let target = path
                .replace("{account}", "alice")
                .replace("{process}", "n1")
                .replace("{file}", "swagger-ui.css");
            let target = target.replace("{id}", "none").replace("{other}", "none");
            let answer = node
                .send(&method, &target, token(&node, caller), None)
                .await;
            let is_allowed = match (answer.status, answer.problem()) {
                (401, "unauthenticated") => {
                    assert!(
                        answer.challenge.starts_with("Bearer realm=\"demo\""),
                        "{answer:?}"
                    );
                    let names_it = answer.challenge.contains("error=\"invalid_token\"");
                    assert_eq!(names_it, caller == "unknown", "{answer:?}");
                    false
                }
                (403, "role-needed") => {
                    let detail = answer.body["detail"].as_str().expect("a sentence");
                    let last = rule.need.roles().last().expect("some role may").as_str();
                    assert!(detail.contains(last), "it names the role: {detail}");
                    assert!(
                        answer.challenge.contains("insufficient_scope"),
                        "{answer:?}"
                    );
                    false
                }
                (401 | 403, other) => unreachable!("{call} {caller}: {other}"),
                _ => true,
            };
            assert_eq!(
                is_allowed,
                may(rule, caller),
                "{call} as {caller}: {answer:?}"
            );
            allowed.push(is_allowed);
        }
        show(&call, &allowed);
    }
    let listed: Vec<String> = routes()
        .iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    check_none_is_stale(REST, &listed);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_is_open_to_the_roles_of_the_table_alone() {
    let node = Guarded::start().await;
    for method in methods() {
        let rule = of_method(&method);
        let rule = rule
            .unwrap_or_else(|| unreachable!("{method}: write its need into src/access/table.rs"));
        let mut allowed = Vec::new();
        for caller in CALLERS {
            let (code, message) = call(&node, &method, token(&node, caller)).await;
            let is_known = !["none", "unknown"].contains(&caller);
            let is_allowed = match code {
                Some(16) => {
                    assert!(!is_known, "{method} as {caller}: {message}");
                    false
                }
                Some(7) => {
                    assert!(is_known && message.contains("needs"), "{method}: {message}");
                    false
                }
                _ => true,
            };
            assert_eq!(
                is_allowed,
                may(rule, caller),
                "{method} as {caller}: {message}"
            );
            allowed.push(is_allowed);
        }
        show(&method, &allowed);
    }
    check_none_is_stale(GRPC, &methods());
    // What is not listed is not served, whoever asks.
    let operator = token(&node, "operator");
    let (code, _) = call(&node, "/snapledger.v1.LedgerService/Other", operator).await;
    assert_eq!(code, Some(12));
    node.stop().await;
}

fn check_none_is_stale(rules: &[Rule], found: &[String]) {
    let stale: Vec<_> = rules
        .iter()
        .filter(|rule| !found.iter().any(|one| one == rule.call))
        .collect();
    assert!(stale.is_empty(), "not served: {stale:?}");
}

// The status of a call with an empty message, if it comes with the head of the answer, as it does for every refusal.
async fn call(node: &Guarded, method: &str, token: Option<&str>) -> (Option<u32>, String) {
    let socket = TcpStream::connect(node.grpc_address())
        .await
        .expect("it listens");
    let (mut client, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut request = ureq::http::Request::post(format!("http://{}{method}", node.grpc_address()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        // A stream that nobody speaks on ends by itself.
        .header("grpc-timeout", "500m");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(()).expect("a request");
    let (response, mut body) = client.send_request(request, false).expect("it is open");
    // A refusal may come before the message.
    let _refused = body.send_data(Bytes::from_static(&[0; 5]), true);
    let response = response.await.expect("it is answered");
    let text = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    let message = text("grpc-message").unwrap_or_default().to_owned();
    connection.abort();
    (code, message)
}
