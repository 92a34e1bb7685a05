//! The OpenAPI document of all routes, and the page to try it. Both are embedded in the program; nothing is downloaded.
//!
//! The document is written by hand, separately from the handlers: the contract is not derived from the implementation.
//! Tests compare the two: every route is documented and every documented route exists (below and in
//! `tests/cluster/documented.rs`), every example can be sent, and every answer in `tests/cluster` matches its schema
//! without undocumented fields.
//!
//! To add a route, write its path into the file of its subject here, or into a new file listed in [`SUBJECTS`]. Answers
//! that all routes can give are in `everywhere.json` and need not be repeated. A path parameter needs an `example`; a
//! query parameter has one if it can be tried; a body has `example` or `examples`. `x-line` describes each line of a
//! stream and `x-events` the data of each event, since OpenAPI 3.1 cannot express that. Examples are sent to a cluster
//! n1, n2, n3 that has sent 250 from alice on n1 to bob on n2, and then taken the snapshots `first` and `second`.

mod page;
mod roles;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::json::Json;
use super::negotiation::Plain;
use crate::access::table::of_route;

pub(super) use page::{file, show};

/// The parts of the document, one per subject. The order of paths is that of the page: the most common first.
const SUBJECTS: &[&str] = &[
    include_str!("base.json"),
    include_str!("operations.json"),
    include_str!("accounts.json"),
    include_str!("statement.json"),
    include_str!("snapshots.json"),
    include_str!("snapshot.json"),
    include_str!("recorded.json"),
    include_str!("differences.json"),
    include_str!("diagram.json"),
    include_str!("events.json"),
    include_str!("file.json"),
    include_str!("proof.json"),
    include_str!("pins.json"),
    include_str!("cluster.json"),
    include_str!("node_events.json"),
    include_str!("audit.json"),
    include_str!("series.json"),
    include_str!("operators.json"),
];

/// The answers that every route can give.
const EVERYWHERE: &str = include_str!("everywhere.json");

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = Value::Null;
    for subject in SUBJECTS {
        merge(&mut document, read(subject));
    }
    let everywhere = read(EVERYWHERE);
    let paths = document["paths"].as_object_mut();
    for (path, operations) in paths.into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let mut answers = everywhere.clone();
            merge(&mut answers, operation["responses"].take());
            operation["responses"] = answers;
            if let Some(rule) = of_route(&method.to_uppercase(), path) {
                roles::add(operation, rule.need);
            }
        }
    }
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document
});

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("a constant that a test reads")
}

// Merges objects recursively; other values are replaced by the later one.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The OpenAPI document.
#[must_use]
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// `GET /openapi.json`
pub(super) async fn openapi(_: Plain) -> Response {
    Json(document()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Map;

    use super::*;

    fn named<'a>(value: &'a Value, what: &str) -> &'a Map<String, Value> {
        value[what].as_object().expect("an object")
    }

    // axum does not list its routes, except in its debug output.
    fn routed() -> BTreeSet<String> {
        let shown = format!("{:?}", super::super::routes());
        let paths = shown.split("paths: {").skip(1);
        let paths = paths.filter_map(|rest| rest.split_once("\"}").map(|(paths, _)| paths));
        let quoted = paths.flat_map(|paths| paths.split('"').skip(1).step_by(2));
        let own = quoted.filter(|path| !path.contains("__private__axum"));
        own.map(str::to_owned).collect()
    }

    #[test]
    fn every_route_is_in_the_document_and_the_other_way_round() {
        let routed = routed();
        assert!(routed.contains("/v1/snapshots/{id}"), "{routed:?}");
        let documented: BTreeSet<String> = named(document(), "paths").keys().cloned().collect();
        let missing: Vec<_> = routed.difference(&documented).collect();
        assert!(
            missing.is_empty(),
            "write into a file of src/api/rest/openapi/: {missing:#?}"
        );
        let stale: Vec<_> = documented.difference(&routed).collect();
        assert!(stale.is_empty(), "no route of the router: {stale:#?}");
    }

    #[test]
    fn no_subject_writes_over_another() {
        let mut seen = BTreeSet::new();
        for subject in SUBJECTS.iter().map(|text| read(text)) {
            let components = subject["components"].as_object().into_iter().flatten();
            let components = components.map(|(kind, found)| (kind.clone(), found.clone()));
            let paths = subject["paths"].clone();
            for (kind, found) in components.chain([("paths".to_owned(), paths)]) {
                for name in found
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name)
                {
                    assert!(
                        seen.insert(format!("{kind} {name}")),
                        "twice: {kind} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        let text = document().to_string();
        let references = text.split("\"$ref\":\"#").skip(1);
        let used: BTreeSet<&str> = references
            .filter_map(|rest| rest.split('"').next())
            .collect();
        for reference in &used {
            assert!(document().pointer(reference).is_some(), "{reference}");
        }
        let schemes = named(&document()["components"], "securitySchemes").keys();
        for scheme in schemes {
            assert!(text.contains(&format!("{{\"{scheme}\":[]}}")), "{scheme}");
        }
        let components = named(document(), "components").iter();
        // Security schemes are used by name.
        for (kind, found) in components.filter(|(kind, _)| *kind != "securitySchemes") {
            for name in found
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name)
            {
                let reference = format!("/components/{kind}/{name}");
                assert!(used.contains(&*reference), "nothing uses {reference}");
            }
        }
    }
}
