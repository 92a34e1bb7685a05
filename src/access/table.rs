//! The need of every route of REST and every method of gRPC. What is not listed is refused.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::role::{Capacity, Need};

/// A call, what it needs, and its name in the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `GET /v1/cluster` with the pattern of the route, or `/package.Service/Method`.
    pub call: &'static str,
    /// What a client needs for it.
    pub need: Need,
    /// Whether processes of the cluster may make it.
    pub by_process: bool,
    /// What it does, for the audit trail.
    pub action: &'static str,
}

const fn rule(call: &'static str, need: Need, action: &'static str) -> Rule {
    Rule {
        call,
        need,
        by_process: matches!(need, Need::Process),
        action,
    }
}

/// A call of clients that processes make, too, to answer in each other's place.
const fn shared(call: &'static str, need: Need, action: &'static str) -> Rule {
    Rule {
        by_process: true,
        ..rule(call, need, action)
    }
}

impl Rule {
    /// Whether a caller in this capacity may make the call.
    #[must_use]
    pub fn allows(self, capacity: Capacity) -> bool {
        match capacity {
            Capacity::Role(role) => self.need.roles().contains(&role),
            Capacity::Process => self.by_process,
        }
    }

    /// Who may make the call, in words.
    #[must_use]
    pub fn allowed(self) -> String {
        match self.by_process && self.need != Need::Process {
            true => format!("{}, process", self.need.allowed()),
            false => self.need.allowed(),
        }
    }
}

/// The routes of REST. HEAD is allowed where GET is.
pub const REST: &[Rule] = &[
    rule("GET /", Need::Public, "index"),
    rule("GET /console/{file}", Need::Public, "console"),
    rule("GET /console/{folder}/{file}", Need::Public, "console"),
    rule("GET /docs", Need::Public, "documentation"),
    rule("GET /docs/{file}", Need::Public, "documentation"),
    rule("GET /openapi.json", Need::Public, "documentation"),
    rule("GET /healthz", Need::Public, "health"),
    rule("GET /readyz", Need::Public, "health"),
    rule("GET /metrics", Need::Known, "metrics"),
    rule("GET /v1/cluster", Need::Known, "status"),
    rule("GET /v1/events", Need::Audit, "watch node"),
    rule("GET /v1/accounts/{account}", Need::Read, "read balance"),
    rule(
        "GET /v1/accounts/{account}/balance",
        Need::Read,
        "read balance",
    ),
    rule(
        "GET /v1/accounts/{account}/history",
        Need::Read,
        "read statement",
    ),
    rule(
        "GET /v1/processes/{process}/accounts/{account}",
        Need::Read,
        "read balance",
    ),
    rule(
        "GET /v1/processes/{process}/accounts/{account}/balance",
        Need::Read,
        "read balance",
    ),
    rule(
        "GET /v1/processes/{process}/accounts/{account}/history",
        Need::Read,
        "read statement",
    ),
    rule(
        "POST /v1/accounts/{account}/deposits",
        Need::Operation,
        "deposit",
    ),
    rule(
        "POST /v1/accounts/{account}/withdrawals",
        Need::Operation,
        "withdraw",
    ),
    rule("POST /v1/transfers", Need::Operation, "transfer"),
    rule(
        "GET /v1/accounts/{account}/series",
        Need::Read,
        "read statement",
    ),
    rule(
        "GET /v1/processes/{process}/accounts/{account}/series",
        Need::Read,
        "read statement",
    ),
    rule("GET /v1/audit", Need::Audit, "audit"),
    rule("GET /v1/audit/series", Need::Audit, "audit"),
    rule("GET /v1/snapshots", Need::Audit, "list snapshots"),
    rule("POST /v1/snapshots", Need::Audit, "take snapshot"),
    rule("GET /v1/snapshots/latest", Need::Audit, "read snapshot"),
    rule("GET /v1/snapshots/{id}", Need::Audit, "read snapshot"),
    rule(
        "GET /v1/snapshots/{id}/revisions",
        Need::Audit,
        "read snapshot",
    ),
    rule(
        "GET /v1/snapshots/{id}/balances",
        Need::Audit,
        "read all balances",
    ),
    rule(
        "GET /v1/snapshots/{id}/balances/{process}/{account}/proof",
        Need::Audit,
        "prove balance",
    ),
    rule(
        "GET /v1/snapshots/{id}/channels",
        Need::Audit,
        "read channels",
    ),
    rule("GET /v1/snapshots/{id}/diff", Need::Audit, "compare"),
    rule(
        "GET /v1/snapshots/{id}/diff/{other}",
        Need::Audit,
        "compare",
    ),
    rule(
        "GET /v1/snapshots/{id}/diagram",
        Need::Audit,
        "read diagram",
    ),
    rule(
        "GET /v1/snapshots/{id}/events",
        Need::Audit,
        "watch snapshot",
    ),
    rule("GET /v1/snapshots/{id}/export", Need::Audit, "export"),
    rule("GET /v1/snapshots/{id}/pin", Need::Audit, "read pin"),
    rule("PUT /v1/snapshots/{id}/pin", Need::Operate, "pin"),
    rule("DELETE /v1/snapshots/{id}/pin", Need::Operate, "unpin"),
    rule("GET /v1/backup", Need::Operate, "backup"),
];

/// The methods of gRPC.
pub const GRPC: &[Rule] = &[
    rule("/grpc.health.v1.Health/Check", Need::Public, "health"),
    rule("/grpc.health.v1.Health/Watch", Need::Public, "health"),
    rule(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Need::Public,
        "reflection",
    ),
    rule(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Need::Public,
        "reflection",
    ),
    rule(
        "/chandy_lamport.KeyValueService/GetLeader",
        Need::Known,
        "status",
    ),
    rule(
        "/chandy_lamport.KeyValueService/GetClusterStatus",
        Need::Known,
        "status",
    ),
    rule(
        "/chandy_lamport.BankService/GetBalance",
        Need::Read,
        "read balance",
    ),
    rule(
        "/chandy_lamport.KeyValueService/Get",
        Need::Read,
        "read key",
    ),
    shared(
        "/snapledger.v1.HistoryService/BalanceAt",
        Need::Read,
        "read balance",
    ),
    shared(
        "/snapledger.v1.HistoryService/Statement",
        Need::Read,
        "read statement",
    ),
    rule(
        "/chandy_lamport.BankService/Transfer",
        Need::Operation,
        "transfer",
    ),
    rule(
        "/chandy_lamport.BankService/Deposit",
        Need::Operation,
        "deposit",
    ),
    rule(
        "/chandy_lamport.BankService/Withdraw",
        Need::Operation,
        "withdraw",
    ),
    rule(
        "/chandy_lamport.KeyValueService/Put",
        Need::Operation,
        "write key",
    ),
    rule(
        "/chandy_lamport.KeyValueService/Delete",
        Need::Operation,
        "delete key",
    ),
    rule(
        "/snapledger.v1.LedgerService/Apply",
        Need::Operation,
        "operations",
    ),
    rule(
        "/snapledger.v1.LedgerService/Stream",
        Need::Operation,
        "stream of operations",
    ),
    rule(
        "/chandy_lamport.SnapshotService/InitiateSnapshot",
        Need::Audit,
        "take snapshot",
    ),
    shared(
        "/chandy_lamport.SnapshotService/GetSnapshot",
        Need::Audit,
        "read snapshot",
    ),
    rule(
        "/chandy_lamport.SnapshotService/GetGlobalSnapshot",
        Need::Audit,
        "read snapshot",
    ),
    rule(
        "/snapledger.v1.HistoryService/AuditAt",
        Need::Audit,
        "audit",
    ),
    rule(
        "/snapledger.v1.HistoryService/AuditSeries",
        Need::Audit,
        "audit",
    ),
    rule(
        "/snapledger.v1.HistoryService/AccountSeries",
        Need::Read,
        "read statement",
    ),
    rule(
        "/snapledger.v1.HistoryService/List",
        Need::Audit,
        "list snapshots",
    ),
    rule(
        "/snapledger.v1.HistoryService/Get",
        Need::Audit,
        "read snapshot",
    ),
    rule(
        "/snapledger.v1.HistoryService/Revisions",
        Need::Audit,
        "read snapshot",
    ),
    rule(
        "/snapledger.v1.HistoryService/Balances",
        Need::Audit,
        "read all balances",
    ),
    rule(
        "/snapledger.v1.HistoryService/Channels",
        Need::Audit,
        "read channels",
    ),
    rule(
        "/snapledger.v1.HistoryService/Verify",
        Need::Audit,
        "verify snapshot",
    ),
    rule("/snapledger.v1.HistoryService/Diff", Need::Audit, "compare"),
    rule(
        "/snapledger.v1.HistoryService/Diagram",
        Need::Audit,
        "read diagram",
    ),
    rule(
        "/snapledger.v1.HistoryService/Cluster",
        Need::Known,
        "status",
    ),
    rule(
        "/snapledger.v1.HistoryService/WatchNode",
        Need::Audit,
        "watch node",
    ),
    rule(
        "/snapledger.v1.HistoryService/Watch",
        Need::Audit,
        "watch snapshot",
    ),
    rule(
        "/chandy_lamport.SnapshotService/ReceiveMarker",
        Need::Process,
        "marker",
    ),
    rule(
        "/chandy_lamport.SnapshotService/SendMessage",
        Need::Process,
        "message",
    ),
    rule(
        "/snapledger.v1.PeerService/Channel",
        Need::Process,
        "channel",
    ),
    rule(
        "/snapledger.v1.PeerService/Greet",
        Need::Process,
        "greeting",
    ),
    rule(
        "/snapledger.v1.PeerService/FetchPart",
        Need::Process,
        "fetch part",
    ),
    rule(
        "/snapledger.v1.PeerService/FetchChunks",
        Need::Process,
        "fetch chunks",
    ),
    rule(
        "/snapledger.v1.PeerService/FetchRevision",
        Need::Process,
        "fetch revision",
    ),
    rule(
        "/snapledger.v1.PeerService/ListRevisions",
        Need::Process,
        "list revisions",
    ),
    rule(
        "/snapledger.v1.PeerService/FindSnapshot",
        Need::Process,
        "find snapshot",
    ),
    rule(
        "/snapledger.v1.PeerService/ShareAt",
        Need::Process,
        "share of an instant",
    ),
    rule(
        "/snapledger.v1.PeerService/AccountAt",
        Need::Process,
        "account at an instant",
    ),
    rule(
        "/snapledger.v1.PeerService/ListPins",
        Need::Process,
        "list pins",
    ),
    rule(
        "/snapledger.v1.PeerService/ChangesSince",
        Need::Process,
        "changes since",
    ),
    rule(
        "/snapledger.v1.PeerService/MessagesAround",
        Need::Process,
        "messages around a cut",
    ),
    rule("/snapledger.v1.PeerService/Vitals", Need::Process, "status"),
];

static BY_CALL: LazyLock<HashMap<&'static str, Rule>> = LazyLock::new(|| {
    REST.iter()
        .chain(GRPC)
        .map(|rule| (rule.call, *rule))
        .collect()
});

/// The rule of a route; `pattern` is that of the router.
#[must_use]
pub fn of_route(method: &str, pattern: &str) -> Option<Rule> {
    let method = if method == "HEAD" { "GET" } else { method };
    BY_CALL.get(&*format!("{method} {pattern}")).copied()
}

/// The rule of a method, `/package.Service/Method`.
#[must_use]
pub fn of_method(path: &str) -> Option<Rule> {
    BY_CALL.get(path).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_listed_once_and_nothing_else_is_found() {
        assert_eq!(BY_CALL.len(), REST.len() + GRPC.len());
        let pin = of_route("DELETE", "/v1/snapshots/{id}/pin").expect("it is listed");
        assert_eq!(pin.need, Need::Operate);
        assert_eq!(of_route("HEAD", "/v1/audit"), of_route("GET", "/v1/audit"));
        assert_eq!(of_route("POST", "/v1/audit"), None);
        assert_eq!(of_method("/snapledger.v1.PeerService/Other"), None);
    }
}
