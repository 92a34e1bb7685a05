//! Network namespaces: each node runs in its own, all are connected by one bridge, and the links can be cut.
//!
//! The test runs itself again inside new user, network, mount and process namespaces. It needs no privileges, is
//! invisible outside, and everything disappears with its last process, however that ends.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use crate::programs::{IDS, Programs};

/// Creates the namespaces; they end with the command.
const UNSHARE: [&str; 7] = [
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
];
/// The system features that the test needs.
const NEEDED: &str = "mount -t tmpfs tmpfs /run && ip netns add probe && ip link add probe type bridge \
    && ip link add one type veth peer name two && nsenter --net=/run/netns/probe true";
/// An unused address; frames sent to it are lost silently.
const NOBODY: &str = "02:00:00:00:00:ff";
const GRPC_PORT: u16 = 7101;
const REST_PORT: u16 = 7201;

/// Returns whether namespaces are permitted here and the required programs are installed.
pub(crate) fn are_allowed() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(UNSHARE).args(["sh", "-c", NEEDED]);
    let probed = probe.stdin(Stdio::null()).output();
    probed.is_ok_and(|output| output.status.success())
}

/// Runs this program again inside the namespaces, with this argument.
pub(crate) fn run_inside(argument: &str) {
    let itself = std::env::current_exe().expect("a program knows where it is");
    let mut inside = Command::new("unshare");
    inside.args(UNSHARE).arg(itself).arg(argument);
    let status = inside.status().expect("it was there a moment ago");
    assert!(status.success(), "what it said is above: {status}");
}

/// The bridge and the links. To be created inside the namespaces only.
pub(crate) struct Laboratory;

impl Laboratory {
    /// Creates a link to each node.
    pub(crate) fn laid(nodes: usize) -> Self {
        run("mount -t tmpfs tmpfs /run");
        run("ip link set lo up");
        run("ip link add bridge type bridge");
        run("ip addr add 10.77.0.254/24 dev bridge");
        run("ip link set bridge up");
        for id in &IDS[..nodes] {
            let host = host(id);
            run(&format!("ip netns add {id}"));
            run(&format!(
                "ip link add {id} type veth peer name eth0 netns {id}"
            ));
            run(&format!("ip link set {id} master bridge up"));
            run(&format!("ip -n {id} link set lo up"));
            run(&format!("ip -n {id} link set eth0 up"));
            run(&format!("ip -n {id} addr add {host}/24 dev eth0"));
        }
        Self
    }

    /// Returns nodes configured to run at the ends of the links.
    pub(crate) fn programs(&self, nodes: usize) -> Programs {
        let pair = |id: &&str| [GRPC_PORT, REST_PORT].map(|port| SocketAddr::new(host(id), port));
        let mut programs = Programs::at(IDS[..nodes].iter().map(pair).collect());
        for id in &IDS[..nodes] {
            let inside = ["nsenter".to_owned(), format!("--net=/run/netns/{id}")];
            programs.run_inside(id, &inside);
        }
        programs
    }

    /// Drops everything that `from` sends to `to` from now on, but not the opposite direction.
    pub(crate) fn cut(&self, from: &str, to: &str) {
        let to = host(to);
        run(&format!(
            "ip -n {from} neigh replace {to} lladdr {NOBODY} nud permanent dev eth0"
        ));
    }

    pub(crate) fn mend(&self, from: &str, to: &str) {
        run(&format!("ip -n {from} neigh del {} dev eth0", host(to)));
    }

    /// Disconnects a node silently: no peer is told that its connections have ended.
    pub(crate) fn unplug(&self, id: &str) {
        run(&format!("ip link set {id} down"));
    }

    pub(crate) fn plug(&self, id: &str) {
        run(&format!("ip link set {id} up"));
    }
}

fn host(id: &str) -> IpAddr {
    let index = IDS.into_iter().position(|known| known == id);
    let index = index.expect("it takes part");
    IpAddr::from([10, 77, 0, 1 + u8::try_from(index).expect("a few")])
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a command"));
    let output = command.args(words).output().expect("it is installed");
    assert!(output.status.success(), "{line}: {output:?}");
}
