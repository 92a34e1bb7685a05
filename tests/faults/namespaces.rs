//! A laboratory of network namespaces: every node in one of its own, all on one bridge, and cables that can be cut.
//!
//! The test runs itself again inside namespaces of its own (user, network, mount, process): nothing of it is seen
//! outside, it needs no rights, and all of it is gone with its last process, however that ended.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use crate::programs::{IDS, Programs};

/// Namespaces of one's own; they end with the command.
const UNSHARE: [&str; 7] = [
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
];
/// What a laboratory needs of the system.
const NEEDED: &str = "mount -t tmpfs tmpfs /run && ip netns add probe && ip link add probe type bridge \
    && ip link add one type veth peer name two && nsenter --net=/run/netns/probe true";
/// Nobody has this address: what is sent there is lost without a word.
const NOBODY: &str = "02:00:00:00:00:ff";
const GRPC_PORT: u16 = 7101;
const REST_PORT: u16 = 7201;

/// Whether namespaces are allowed here and the programs for them installed.
pub(crate) fn are_allowed() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(UNSHARE).args(["sh", "-c", NEEDED]);
    let probed = probe.stdin(Stdio::null()).output();
    probed.is_ok_and(|output| output.status.success())
}

/// Runs this program again with this argument, inside.
pub(crate) fn run_inside(argument: &str) {
    let itself = std::env::current_exe().expect("a program knows where it is");
    let mut inside = Command::new("unshare");
    inside.args(UNSHARE).arg(itself).arg(argument);
    let status = inside.status().expect("it was there a moment ago");
    assert!(status.success(), "what it said is above: {status}");
}

/// The bridge and the cables. Only to be made inside.
pub(crate) struct Laboratory;

impl Laboratory {
    /// Lays a cable to each node.
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

    /// Nodes that will run at the ends of the cables.
    pub(crate) fn programs(&self, nodes: usize) -> Programs {
        let pair = |id: &&str| [GRPC_PORT, REST_PORT].map(|port| SocketAddr::new(host(id), port));
        let mut programs = Programs::at(IDS[..nodes].iter().map(pair).collect());
        for id in &IDS[..nodes] {
            let inside = ["nsenter".to_owned(), format!("--net=/run/netns/{id}")];
            programs.run_inside(id, &inside);
        }
        programs
    }

    /// From now on what one sends to the other is lost; what comes back is not.
    pub(crate) fn cut(&self, from: &str, to: &str) {
        let to = host(to);
        run(&format!(
            "ip -n {from} neigh replace {to} lladdr {NOBODY} nud permanent dev eth0"
        ));
    }

    pub(crate) fn mend(&self, from: &str, to: &str) {
        run(&format!("ip -n {from} neigh del {} dev eth0", host(to)));
    }

    /// Nothing comes or goes; nobody is told that connections have ended.
    pub(crate) fn unplug(&self, id: &str) {
        run(&format!("ip link set {id} down"));
    }

    pub(crate) fn plug(&self, id: &str) {
        run(&format!("ip link set {id} up"));
    }
}

fn host(id: &str) -> IpAddr {
    let place = IDS.into_iter().position(|known| known == id);
    let place = place.expect("it takes part");
    IpAddr::from([10, 77, 0, 1 + u8::try_from(place).expect("a few")])
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a command"));
    let output = command.args(words).output().expect("it is installed");
    assert!(output.status.success(), "{line}: {output:?}");
}
