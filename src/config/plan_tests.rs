//! The precedence of the sources, the defaults, and what is refused before a port is bound.

use std::time::Duration;

use super::*;
use crate::access::identity::Holder;
use crate::access::private_file::replace_private;
use crate::config::TlsOptions;
use crate::tls::issue::Authority;

fn options(id: &str) -> NodeOptions {
    NodeOptions {
        id: id.to_owned(),
        // The addresses of these tests are those of other machines.
        insecure: true,
        ..NodeOptions::default()
    }
}

fn by_peers(peers: &[&str]) -> NodeOptions {
    NodeOptions {
        port: Some(50051),
        peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
        ..options("n1")
    }
}

fn by_file(text: &str) -> (tempfile::TempDir, NodeOptions) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("cluster.toml");
    std::fs::write(&path, text).expect("a file in it");
    let options = NodeOptions {
        config: Some(path),
        ..options("n1")
    };
    (dir, options)
}

const FILE: &str = r#"
cluster = "bank"
[[process]]
id = "n1"
grpc = "10.0.0.1:7101"
rest = "10.0.0.1:7201"
[[process]]
id = "n2"
grpc = "10.0.0.2:7101"
transport = "unary"
[[process]]
id = "n3"
grpc = "10.0.0.3:7101"
[snapshot]
interval = "10s"
deadline = "2s"
"#;

fn sentence(options: &NodeOptions) -> String {
    NodePlan::new(options)
        .expect_err("the options are wrong")
        .to_string()
}

#[test]
fn without_a_file_the_defaults_are_loopback() {
    let plan = NodePlan::new(&by_peers(&["n3=h3:1", "n2=h2:1"])).expect("good options");
    assert_eq!(plan.listen.grpc, "127.0.0.1:50051");
    assert_eq!(plan.listen.rest, "127.0.0.1:50151");
    let config = plan.settle(Vec::new()).expect("no strangers");
    assert_eq!(config.cluster, "demo");
    assert_eq!(config.dir, PathBuf::from("data/store/n1"));
    assert_eq!(config.snapshot, SnapshotSettings::default());
    let ids: Vec<&str> = config.members.iter().map(|m| m.id.as_str()).collect();
    assert_eq!(ids, ["n1", "n2", "n3"], "sorted");
    assert_eq!(config.topology.channels().count(), 6);
    let transport = |id: usize| config.members[id].transport;
    assert_eq!(transport(0), Transport::Native, "the node itself");
    assert_eq!(transport(1), Transport::Unsaid, "what n2 is, nobody said");
    assert_eq!(config.myself().rest.as_deref(), Some("127.0.0.1:50151"));
}

#[test]
fn strangers_become_members_once_learnt() {
    let learnt = |id: &str| Member {
        id: ProcessId::parse(id).expect("an id"),
        grpc: "h2:1".to_owned(),
        rest: None,
        transport: Transport::Native,
    };
    let plan = NodePlan::new(&by_peers(&["h2:1"])).expect("good options");
    assert_eq!(plan.strangers, ["h2:1"]);
    let config = plan.clone().settle(vec![learnt("n2")]).expect("a new id");
    assert_eq!(config.members.len(), 2);
    let again = plan.settle(vec![learnt("n1")]).expect_err("a taken id");
    assert!(again.to_string().contains("n1 is named twice"), "{again}");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let (_dir, mut options) = by_file(FILE);
    options.snapshot_deadline = Some("7s".to_owned());
    options.store_free_space_min = Some("1MiB".to_owned());
    options.history_max_age = Some("30d".to_owned());
    options.limits.limits_keys_max = Some(9);
    options.dir = Some(PathBuf::from("elsewhere"));
    options.host = Some("0.0.0.0".to_owned());
    let plan = NodePlan::new(&options).expect("good options");
    assert_eq!(plan.listen.grpc, "0.0.0.0:7101");
    let config = plan.settle(Vec::new()).expect("no strangers");
    assert_eq!(config.cluster, "bank");
    assert_eq!(config.dir, PathBuf::from("elsewhere"));
    assert_eq!(config.snapshot.interval, Some(Duration::from_secs(10)));
    assert_eq!(config.snapshot.deadline, Duration::from_secs(7));
    assert_eq!(config.snapshot.open_max, 256);
    assert_eq!(config.store.free_space_min, 1 << 20);
    let days = Duration::from_secs(30 * 86_400);
    assert_eq!(config.history.max_age, Some(days));
    assert_eq!(config.history.max_count, None);
    assert_eq!(config.store.commit_deadline, Duration::from_secs(30));
    assert_eq!(config.limits.keys, 9);
    assert_eq!(config.limits.accounts, 50_000_000);
    assert_eq!(
        config.myself().grpc,
        "10.0.0.1:7101",
        "what others are told"
    );
}

#[test]
fn peers_may_be_listed_with_spaces() {
    let plan = NodePlan::new(&by_peers(&["n3=h3:1", " n2 = h2:1", " h4:1 ", " "]));
    let plan = plan.expect("good options");
    assert_eq!(plan.strangers, ["h4:1"]);
    let known: Vec<&str> = plan.known().map(ProcessId::as_str).collect();
    assert_eq!(known, ["n1", "n3", "n2"]);
}

// Without this a node advertises 0.0.0.0, and each peer connects to itself.
#[test]
fn a_wildcard_is_listened_on_and_never_told() {
    let mut everywhere = by_peers(&["n2=h2:1"]);
    everywhere.host = Some("0.0.0.0".to_owned());
    let refusal = sentence(&everywhere);
    assert!(
        refusal.starts_with("--host: `0.0.0.0:50051` listens on every"),
        "{refusal}"
    );
    assert!(refusal.ends_with("add --advertise HOST"), "{refusal}");
    everywhere.advertise = Some("h1".to_owned());
    let told = |options: &NodeOptions| {
        let plan = NodePlan::new(options).expect("good options");
        let rest = plan.me.rest.expect("it has one");
        (plan.listen.grpc, plan.me.grpc, rest)
    };
    let of = |listen: &str, grpc: &str, rest: &str| {
        (listen.to_owned(), grpc.to_owned(), rest.to_owned())
    };
    assert_eq!(
        told(&everywhere),
        of("0.0.0.0:50051", "h1:50051", "h1:50151")
    );
    everywhere.advertise = Some("h1:81".to_owned());
    everywhere.advertise_rest = Some("h1:82".to_owned());
    assert_eq!(told(&everywhere), of("0.0.0.0:50051", "h1:81", "h1:82"));
    everywhere.advertise = Some("[::]".to_owned());
    assert!(sentence(&everywhere).starts_with("--advertise: `[::]:50051` means every"));
    assert!(sentence(&by_peers(&["n2=0.0.0.0:1"])).contains("is not a host to connect to"));
    assert!(sentence(&by_peers(&["[::]:1"])).contains("is not a host to connect to"));

    let wild = FILE.replace("10.0.0.1", "0.0.0.0");
    let refusal = sentence(&by_file(&wild).1);
    assert!(
        refusal.contains("cluster.toml:5: `0.0.0.0:7101` listens on every"),
        "{refusal}"
    );
    let block = "advertise = \"h1\"\n[[process]]\nid = \"n2\"";
    let wild = wild.replace("[[process]]\nid = \"n2\"", block);
    let (_dir, options) = by_file(&wild);
    assert_eq!(told(&options), of("0.0.0.0:7101", "h1:7101", "h1:7201"));
    let (_dir, options) = by_file(&FILE.replace("10.0.0.1:7201", "0.0.0.0:7201"));
    assert_eq!(
        told(&options),
        of("10.0.0.1:7101", "10.0.0.1:7101", "10.0.0.1:7201")
    );
}

#[test]
fn a_process_that_cannot_run_here_is_refused() {
    let (_dir, mut options) = by_file(FILE);
    options.id = "n2".to_owned();
    assert!(sentence(&options).contains("another program hosts it"));
    options.id = "n3".to_owned();
    assert!(sentence(&options).contains("has no REST address"));
    options.id = "n4".to_owned();
    assert!(sentence(&options).contains("has n1, n2, n3"));
    options.id = String::new();
    assert!(sentence(&options).starts_with("--id: process id is empty"));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    assert!(sentence(&options("n1")).contains("give --config FILE, or --port"));
    let (_dir, mut both) = by_file(FILE);
    both.port = Some(1);
    assert!(sentence(&both).starts_with("--port: the cluster file already gives"));
    assert!(sentence(&by_peers(&["n1=h:1"])).contains("n1 is named twice"));
    assert!(sentence(&by_peers(&["n2=h:1", "n3=h:1"])).contains("already used by n2"));
    assert!(sentence(&by_peers(&["n2=h"])).contains("`h` is not a valid address"));
    assert!(sentence(&by_peers(&["=h:1"])).contains("process id is empty"));
    let mut high = by_peers(&[]);
    high.port = Some(65_500);
    assert!(sentence(&high).contains("give the REST port with --rest-port"));
    let mut never = by_peers(&[]);
    never.snapshot_interval = Some("never".to_owned());
    assert!(sentence(&never).starts_with("--snapshot-interval: `never`"));
    let mut nothing = by_peers(&[]);
    nothing.history_max_count = Some(0);
    assert!(
        sentence(&nothing).starts_with("--history-max-count: the limit of kept snapshots is 0")
    );
    let mut much = by_peers(&[]);
    much.store_free_space_min = Some("1MB".to_owned());
    assert!(sentence(&much).starts_with("--store-free-space-min: `1MB` is not a valid size"));
    let mut none = by_peers(&[]);
    none.limits.limits_accounts_max = Some(0);
    assert!(sentence(&none).starts_with("--limits-accounts-max: the limit of accounts is 0"));
}

#[test]
fn the_files_of_tls_come_from_options_and_from_the_table_for_every_process() {
    let (dir, mut options) = by_file(&FILE.replace(
        "[[process]]\nid = \"n1\"",
        "[tls]\ncert = \"{id}.crt\"\nkey = \"/there/is/none/{id}.key\"\nca = \"ca.crt\"\n[[process]]\nid = \"n1\"",
    ));
    let (authority, ca) = Authority::new("bank", 1).expect("a CA");
    let n1 = Holder::Process(ProcessId::parse("n1").expect("an id"));
    let pair = authority.issue(n1, &[], 1).expect("a pair");
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("ca.crt"), &ca.certificate).expect("there is room");
    std::fs::write(path("n1.crt"), &pair.certificate).expect("there is room");
    replace_private(&path("n1.key"), pair.key.as_bytes()).expect("there is room");
    options.tls.tls_ca = Some(path("ca.crt"));
    options.tls.tls_cert = Some(path("{id}.crt"));
    let refused = NodePlan::new(&options).expect_err("there is no such key");
    let sentence = refused.to_string();
    assert!(sentence.contains("cluster.toml:3: "), "{sentence}");
    assert!(sentence.contains("/there/is/none/n1.key"), "{sentence}");
    options.tls.tls_key = Some(path("{id}.key"));
    let plan = NodePlan::new(&options).expect("all files");
    assert!(plan.tls.is_some());
    // The certificate is that of one process of one cluster.
    options.cluster_name = Some("other".to_owned());
    let refused = NodePlan::new(&options).expect_err("another cluster");
    assert!(
        refused.to_string().contains("snapledger://bank/process/n1"),
        "{refused}"
    );
    options.cluster_name = None;
    // Without one of them it is not TLS.
    let given = TlsOptions {
        tls_cert: Some(path("n1.crt")),
        ..TlsOptions::default()
    };
    let alone = NodeOptions {
        tls: given,
        ..by_peers(&[])
    };
    let refused = NodePlan::new(&alone).expect_err("the key is missing");
    assert!(
        refused.to_string().contains("add key and ca to [tls]"),
        "{refused}"
    );
    // Others may read the key.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(path("n1.key"), mode).expect("it is ours");
    let refused = NodePlan::new(&options).expect_err("an open key");
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}

// Without this a typo in one address opens the whole cluster to the network.
#[test]
fn a_node_that_other_machines_reach_starts_only_with_protection_or_the_word_of_its_operator() {
    let (_dir, mut options) = by_file(FILE);
    let plan = NodePlan::new(&options).expect("its operator accepts it");
    let config = plan.settle(Vec::new()).expect("no strangers");
    assert_eq!(config.unprotected, Some(Unprotected::Both));
    options.insecure = false;
    let refusal = sentence(&options);
    assert!(
        refusal.starts_with(
            "other machines can reach 10.0.0.1:7101, and this node lacks TLS and auth"
        ),
        "{refusal}"
    );
    assert!(
        refusal.contains("--insecure:\n  snapledger cert init --cluster bank\n"),
        "{refusal}"
    );
    assert!(
        refusal.contains("cert node --id n1 --host 10.0.0.1\n"),
        "{refusal}"
    );
    let mut here = by_peers(&["n2=h2:1"]);
    here.insecure = false;
    let plan = NodePlan::new(&here).expect("only this machine reaches it");
    assert_eq!(
        plan.settle(Vec::new()).expect("no strangers").unprotected,
        None
    );
    here.host = Some("192.0.2.1".to_owned());
    assert!(sentence(&here).starts_with("other machines can reach 192.0.2.1:50051"));
}
