//! The dependency rule of the project: `cli, api → cluster → node → {transport, store} → {channel, history} → process →
//! nothing`. And which files alone may make connections and clients to other nodes.

use syn::visit::{self, Visit};

use crate::source::{Finding, Named, Source, line_of};

/// Each part, and the parts that it may name. A part that is not listed may name nothing: add a line.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("process", &[]),
    ("proto", &[]),
    ("access", &["process"]),
    ("tls", &["access", "process"]),
    ("archive", &["process", "shipping"]),
    ("channel", &["process"]),
    ("history", &["process"]),
    ("picture", &["process"]),
    (
        "offsite",
        &["archive", "history", "process", "shipping", "store"],
    ),
    ("shipping", &["process"]),
    ("simulate", &["history", "picture", "process"]),
    ("store", &["history", "process"]),
    ("tables", &["archive", "history", "process", "store"]),
    ("otel", &["config", "history", "process"]),
    (
        "transport",
        &[
            "access", "channel", "history", "otel", "process", "proto", "tls",
        ],
    ),
    ("config", &["access", "process", "shipping", "tls"]),
    ("client", &["access", "process", "proto", "tls"]),
    (
        "node",
        &[
            "access",
            "archive",
            "channel",
            "config",
            "history",
            "otel",
            "process",
            "proto",
            "offsite",
            "shipping",
            "store",
            "tables",
            "tls",
            "transport",
        ],
    ),
    (
        "cluster",
        &[
            "access",
            "config",
            "history",
            "node",
            "otel",
            "process",
            "proto",
            "store",
            "tls",
            "transport",
        ],
    ),
    (
        "api",
        &[
            "access",
            "cluster",
            "config",
            "history",
            "node",
            "otel",
            "process",
            "proto",
            "store",
            "tls",
            "transport",
        ],
    ),
    (
        "untrusted",
        &["api", "process", "proto", "store", "transport"],
    ),
    // The commands start `bench`, which reports with the errors and tables of the commands.
    (
        "bench",
        &[
            "access", "archive", "cli", "client", "process", "proto", "simulate", "store", "tls",
        ],
    ),
    (
        "cli",
        &[
            "access",
            "api",
            "archive",
            "bench",
            "client",
            "config",
            "history",
            "node",
            "picture",
            "process",
            "proto",
            "offsite",
            "shipping",
            "simulate",
            "store",
            "tables",
            "tls",
            "transport",
        ],
    ),
];

/// Parts that work on values alone, so that simulation and recovery run the same code.
const PURE: &[&str] = &[
    "process", "channel", "history", "picture", "shipping", "simulate",
];

/// What a pure part never names: clocks, randomness, sockets, files, threads.
const IMPURE: &[&[&str]] = &[
    &["std", "time"],
    &["core", "time"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "env"],
    &["axum"],
    &["chrono"],
    &["fastrand"],
    &["futures"],
    &["getrandom"],
    &["hyper"],
    &["jiff"],
    &["rand"],
    &["sled"],
    &["tokio"],
    &["tonic"],
    &["ureq"],
    &["uuid"],
];

/// The same, under whatever path they are named.
const IMPURE_TYPES: &[&str] = &["Instant", "SystemTime", "RandomState", "DefaultHasher"];

/// Names that only these files and folders may use: clients of other nodes, connections to them, and work on the store from
/// async tasks have one place each.
const NAMED_ONLY_BY: &[(&str, &[&str])] = &[
    ("PeerServiceClient", &["src/transport/peer_client.rs"]),
    ("HistoryServiceClient", &["src/transport/peer_client.rs"]),
    (
        "Endpoint",
        &[
            "src/transport/endpoint.rs",
            // Clients of a node, not nodes.
            "src/client/mod.rs",
            "src/client/credentials.rs",
            "src/bench/connect.rs",
            "src/cli/replay/members.rs",
            "src/tls/client.rs",
            // A collector of traces, not a node.
            "src/otel/exporter.rs",
            // Keys of the environment of a storage.
            "src/archive/environment.rs",
        ],
    ),
    (
        "spawn_blocking",
        &[
            "src/node/store_worker.rs",
            // Before there is a store, and the end of the threads that own it.
            "src/node/recovery.rs",
            "src/node/mod.rs",
            // Files of certificates, tokens and keys, not the store.
            "src/tls/reload.rs",
            "src/access/authority.rs",
            // The directory of an archive, not the store.
            "src/archive/root.rs",
            // Commands have no node.
            "src/bench/",
            "src/cli/",
        ],
    ),
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let Some(own) = layer(source) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == own) else {
        let sentence = format!(
            "{own} has no place in the house; say in tests/tidy/layers.rs what it may name"
        );
        return vec![source.finding(1, sentence)];
    };
    for named in source.named() {
        if let Some((name, files)) = restricted(&named)
            && !files.iter().any(|file| source.path.starts_with(file))
            && !source.path.ends_with("tests.rs")
        {
            let sentence = format!("only {} may name {name}", files.join(", "));
            findings.push(source.finding(named.line, sentence));
        }
        if let Some(other) = part_named(source, &named)
            && other != own
            && is_part(other)
            && !allowed.contains(&other)
        {
            let sentence = format!("{own} must not know {other}; move what both need further down");
            findings.push(source.finding(named.line, sentence));
        }
        if PURE.contains(&own) && is_impure(&named) {
            let path = named.segments.join("::");
            let sentence =
                format!("{own} is pure and must not name {path}; let node pass the value in");
            findings.push(source.finding(named.line, sentence));
        }
    }
    if PURE.contains(&own) {
        let mut waits = Waits(Vec::new());
        waits.visit_file(&source.file);
        let sentence =
            format!("{own} is pure and must not be async; let node await and pass the value in");
        findings.extend(
            waits
                .0
                .into_iter()
                .map(|line| source.finding(line, &sentence)),
        );
    }
    findings
}

/// Returns the part that a file belongs to; `None` for files above all parts.
fn layer(source: &Source) -> Option<&str> {
    if source.path.starts_with("migrations/") {
        return Some("store");
    }
    let below = source.path.strip_prefix("src/")?;
    let first = below.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib" && name != "main").then_some(name)
}

fn is_part(name: &str) -> bool {
    name == "proto" || MAY_NAME.iter().any(|(part, _)| *part == name)
}

/// Returns the part that a path leads into, if any: from the crate's root, or upwards out of its own module.
fn part_named<'a>(source: &Source, named: &'a Named) -> Option<&'a str> {
    let segments: Vec<_> = named.segments.iter().map(String::as_str).collect();
    if let ["crate" | "snapledger", part, ..] = segments[..] {
        return Some(part);
    }
    let ups = segments
        .iter()
        .take_while(|segment| **segment == "super")
        .count();
    (ups > 0 && ups == depth(source) + named.depth).then(|| segments.get(ups).copied())?
}

/// Returns the module depth of a file: 1 for `src/store/mod.rs`, 2 for `src/store/journal/mod.rs`.
fn depth(source: &Source) -> usize {
    let below = source.path.strip_prefix("src/").unwrap_or(&source.path);
    below.split('/').count() - usize::from(below.ends_with("/mod.rs"))
}

/// Returns the type that few files may name, and these files, if a path outside of tests names one.
fn restricted(named: &Named) -> Option<(&'static str, &'static [&'static str])> {
    let is_named = |name: &str| named.segments.iter().any(|segment| segment == name);
    let mut restricted = NAMED_ONLY_BY.iter().copied();
    restricted.find(|(name, _)| !named.in_test && is_named(name))
}

fn is_impure(named: &Named) -> bool {
    let begins = |prefix: &&[&str]| {
        let segments = named.segments.iter();
        let start: Vec<_> = segments.take(prefix.len()).map(String::as_str).collect();
        start == **prefix && (prefix.len() > 1 || named.segments.len() > 1)
    };
    let is_type = |segment: &String| IMPURE_TYPES.contains(&segment.as_str());
    IMPURE.iter().any(begins) || named.segments.iter().any(is_type)
}

/// Lines with `async` or `await`.
struct Waits(Vec<usize>);

impl<'ast> Visit<'ast> for Waits {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let token = signature.asyncness.as_ref();
        self.0.extend(token.map(|token| line_of(token.span)));
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &'ast syn::ExprAsync) {
        self.0.push(line_of(expression.async_token.span));
        visit::visit_expr_async(self, expression);
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.0.push(line_of(expression.await_token.span));
        visit::visit_expr_await(self, expression);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text)).len()
    }

    #[test]
    fn a_look_upwards_is_found_however_it_is_written() {
        for text in [
            "use crate::store::Store;",
            "use crate::{process::Process, store::Store};",
            "fn f() { crate::store::open(); }",
            "fn f() -> crate::store::Store { g() }",
            "use super::super::store::Store;",
            "mod inner { use super::super::super::store; }",
            "fn f() { assert!(crate::store::open()); }",
            "use snapledger::store::Store;",
        ] {
            assert_eq!(findings("src/transport/inbound.rs", text), 1, "{text}");
        }
        assert_eq!(
            findings("src/transport/mod.rs", "use super::store::Store;"),
            1
        );
        assert_eq!(
            findings("src/history/mod.rs", "use crate::store::Store;"),
            1
        );
        assert_eq!(findings("migrations/m0001.rs", "use crate::node::Node;"), 1);
        assert_eq!(findings("src/attic.rs", ""), 1, "a part without a place");
    }

    #[test]
    fn what_a_part_may_name_is_not_found() {
        let text = "use crate::process::Process; use super::frame; use std::fs; use crate::transport::Frame;";
        assert_eq!(findings("src/transport/inbound.rs", text), 0);
        assert_eq!(findings("src/main.rs", "use crate::store::Store;"), 0);
        assert_eq!(
            findings("src/cli/simulate.rs", "use crate::simulate::run;"),
            0
        );
    }

    #[test]
    fn a_client_or_connection_to_a_node_is_made_in_one_place() {
        let client = "use crate::proto::snapledger::peer_service_client::PeerServiceClient;";
        let connection = "fn f() { tonic::transport::Endpoint::from_static(\"\"); }";
        for text in [client, connection] {
            assert_eq!(findings("src/cluster/audit.rs", text), 1, "{text}");
            assert_eq!(findings("src/node/peers/peers_tests.rs", text), 0, "{text}");
        }
        assert_eq!(findings("src/transport/peer_client.rs", client), 0);
        assert_eq!(findings("src/transport/endpoint.rs", connection), 0);
    }

    #[test]
    fn a_pure_part_that_is_not_is_found() {
        for text in [
            "use std::time::Instant;",
            "use std::{collections::BTreeMap, fs::File};",
            "use std::net as n;",
            "use std::io::*;",
            "fn f() { tokio::spawn(g()); }",
            "fn f() { println!(\"{}\", rand::random()); }",
            "fn f(at: SystemTime) {}",
            "fn f() { std::collections::hash_map::RandomState::new(); }",
            "async fn f() {}",
            "fn f() { let _ = async { 1 }; }",
        ] {
            assert_eq!(findings("src/process/odd.rs", text), 1, "{text}");
            assert_eq!(findings("src/store/odd.rs", text), 0, "{text}");
        }
        let text =
            "use std::collections::HashMap; use super::time; fn f(rand: u64) -> u64 { rand }";
        assert_eq!(findings("src/process/fine.rs", text), 0);
    }
}
