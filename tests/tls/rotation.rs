//! New certificates and a new CA while money moves: no operation fails, and half a pair is never used.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snapledger::client::{AccountRef, Ledger, Operation, Options};
use snapledger::process::ids::ProcessId;
use snapledger::tls::client::{ClientFiles, ClientTls};
use snapledger::tls::files::TlsFiles;
use snapledger::tls::node::{Reloaded, Tls};

use crate::await_it::until;
use crate::certificates::{Certificates, private};
use crate::cluster::Cluster;

pub(crate) const TAKEN: &str = "the changed TLS files are in use";

fn files(certificates: &Certificates) -> TlsFiles {
    TlsFiles {
        cert: certificates.crt("n1"),
        key: certificates.key("n1"),
        ca: certificates.ca(),
        client_ca: certificates.ca(),
    }
}

pub(crate) fn replace(from: &Path, to: &Path) {
    let staged = to.with_extension("new");
    std::fs::copy(from, &staged).expect("there is room");
    std::fs::rename(&staged, to).expect("one file system");
}

#[test]
fn half_a_pair_is_not_used_and_the_whole_one_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certificates = Certificates::of_cluster(&dir.path().join("certs"), "bank");
    certificates.node("n1");
    let n1 = ProcessId::parse("n1").expect("an id");
    let tls = Tls::load(files(&certificates), "bank", &n1).expect("a pair");
    assert!(matches!(tls.reload(), Reloaded::Unchanged));
    let next = dir.path().join("next");
    certificates.node_into("n1", &next);
    replace(&next.join("n1.crt"), &certificates.crt("n1"));
    let Reloaded::Refused(Some(error)) = tls.reload() else {
        unreachable!("the key is the old one");
    };
    assert!(
        error
            .to_string()
            .contains("is not the key of the certificate"),
        "{error}"
    );
    assert!(
        matches!(tls.reload(), Reloaded::Refused(None)),
        "it is said once"
    );
    replace(&next.join("n1.key"), &certificates.key("n1"));
    assert!(matches!(tls.reload(), Reloaded::Taken));
    assert!(matches!(tls.reload(), Reloaded::Unchanged));
    // What peers would refuse is not used either.
    for (name, words) in [
        (
            "expired",
            "n1.crt: the certificate expired at 2020-02-01T00:00:00Z; issue a new pair with `snapledger cert node --id n1 --host 127.0.0.1 --out renewed`",
        ),
        (
            "early",
            "n1.crt: the certificate is not valid before 2090-01-01T00:00:00Z; set the clock of this machine, or",
        ),
        ("n2", "this node is"),
    ] {
        match name {
            "expired" => certificates.expired("n1", name),
            "early" => certificates.early("n1", name),
            _ => certificates.node(name),
        }
        replace(&certificates.crt(name), &certificates.crt("n1"));
        replace(&certificates.key(name), &certificates.key("n1"));
        let Reloaded::Refused(Some(error)) = tls.reload() else {
            unreachable!("{name} cannot be used");
        };
        assert!(error.to_string().contains(words), "{error}");
    }
    std::fs::remove_file(certificates.ca()).expect("it was there");
    assert!(
        matches!(tls.reload(), Reloaded::Refused(Some(_))),
        "it cannot be read"
    );
}

/// Operations over a connection that stays, and over new ones, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &Arc<Cluster>, client: ClientTls) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut tasks = Vec::new();
        for (from, to) in [("n1", "n2"), ("n2", "n3"), ("n3", "n1")] {
            for reconnects in [false, true] {
                let (cluster, client) = (Arc::clone(cluster), client.clone());
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                tasks.push(tokio::spawn(async move {
                    let connect = || Ledger::over(cluster.grpc(from, &client), Options::default());
                    let mut ledger = connect();
                    while !stop.load(Ordering::Relaxed) {
                        let deposit = ledger.apply(Operation::deposit("a", 2)).await;
                        deposit.unwrap_or_else(|error| unreachable!("at {from}: {error}"));
                        let to = AccountRef {
                            process: to,
                            account: "b",
                        };
                        let transfer = ledger.apply(Operation::transfer("a", to, 1)).await;
                        transfer.unwrap_or_else(|error| unreachable!("{from}: {error}"));
                        done.fetch_add(1, Ordering::Relaxed);
                        if reconnects {
                            ledger = connect();
                        }
                    }
                }));
            }
        }
        Self { stop, done, tasks }
    }

    // Waits until operations went on.
    async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        until("further operations", async || {
            (self.done.load(Ordering::Relaxed) > before + 50).then_some(())
        })
        .await;
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no operation fails");
        }
        self.done.load(Ordering::Relaxed)
    }
}

const IDS: [&str; 3] = ["n1", "n2", "n3"];

impl Cluster {
    // Changes files, and waits until each node uses them, with or without a SIGHUP.
    async fn take(&self, change: impl FnOnce(), signals: bool) {
        let behind = IDS.map(|id| self.log(id).len());
        change();
        for (id, behind) in IDS.into_iter().zip(behind) {
            if signals {
                let pid = rustix::process::Pid::from_raw(self.pid(id).cast_signed());
                let pid = pid.expect("a child has one");
                rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
            }
            self.says(id, TAKEN, behind).await;
        }
    }

    // The money on all accounts.
    async fn balances(&self, client: &ClientTls) -> Option<u64> {
        let mut balances = 0;
        for id in IDS {
            for account in ["a", "b"] {
                let path = format!("/v1/accounts/{account}");
                let found = self.get(id, &path, client).await.ok()?;
                balances += found["balance"].as_u64()?;
            }
        }
        Some(balances)
    }
}

fn trusting(ca: &Path) -> ClientTls {
    ClientTls::load(&ClientFiles::trusting(ca)).expect("CAs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ca_takes_over_under_load_without_a_failed_operation() {
    let cluster = Cluster::up().await;
    let old = cluster.certificates.clone();
    let new = Certificates::of_cluster(&cluster.dir().join("next"), "bank");
    let read = |path: &Path| std::fs::read_to_string(path).expect("it was made");
    let both = cluster.dir().join("both.crt");
    std::fs::write(&both, read(&old.ca()) + &read(&new.ca())).expect("there is room");
    let before = cluster.dir().join("old.crt");
    std::fs::copy(old.ca(), &before).expect("there is room");
    let cluster = Arc::new(cluster);
    // The clients trust both CAs throughout.
    let load = Load::start(&cluster, trusting(&both));
    load.goes_on().await;
    // Every node trusts both CAs, then presents a certificate of the new one, then trusts the new one alone.
    cluster.take(|| replace(&both, &old.ca()), false).await;
    load.goes_on().await;
    let present = || {
        for id in IDS {
            new.node(id);
            replace(&new.key(id), &old.key(id));
            private(&old.key(id));
            replace(&new.crt(id), &old.crt(id));
        }
    };
    cluster.take(present, true).await;
    load.goes_on().await;
    cluster.take(|| replace(&new.ca(), &old.ca()), true).await;
    load.goes_on().await;
    let done = load.stop().await;
    let mut cluster = Arc::into_inner(cluster).expect("the load has ended");
    // New connections between the nodes use what is new.
    cluster.stop("n2");
    cluster.start("n2");
    cluster.connected().await;
    let client = trusting(&new.ca());
    until("all money", async || {
        (cluster.balances(&client).await? == 2 * done).then_some(())
    })
    .await;
    let outdated = trusting(&before);
    let refused = cluster.get("n1", "/readyz", &outdated).await;
    assert!(
        refused.is_err(),
        "the nodes present certificates of the new CA"
    );
}
