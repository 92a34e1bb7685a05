//! The banner of a ready cluster: the nodes with their addresses, and commands to try.

use std::collections::BTreeMap;

use super::layout::Layout;
use crate::cli::Report;

/// The banner, with the OS process ids of the live nodes.
pub(super) fn banner(layout: &Layout, pids: &BTreeMap<usize, u32>) -> Report {
    let rows = layout.nodes.iter().enumerate().map(|(index, node)| {
        vec![
            node.id.clone(),
            pids.get(&index)
                .map_or("dead".to_owned(), ToString::to_string),
            format!("http://{}", node.grpc),
            format!("http://{}", node.rest),
            node.dir.display().to_string(),
        ]
    });
    let mut report = Report::default();
    report.line("ready");
    report.table(&["process", "pid", "gRPC", "REST", "store"], rows.collect());
    if let Some(node) = pids.keys().next().map(|index| &layout.nodes[*index]) {
        let rest = &node.rest;
        report.line("\nto try:");
        report.line(&format!("  curl -X POST http://{rest}/v1/accounts/alice/deposits -H 'content-type: application/json' -d '{{\"amount\": 1000}}'"));
        report.line(&format!("  curl -X POST 'http://{rest}/v1/snapshots?wait=10' -H 'content-type: application/json' -d '{{}}'"));
        report.line(&format!("  curl http://{rest}/v1/snapshots/latest"));
        report.line(&format!(
            "  http://{rest}/ lists all routes; Ctrl-C stops the cluster"
        ));
    }
    report
}
