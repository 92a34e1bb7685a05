//! Nodes as operating-system processes: each can be killed, frozen, restarted and observed from outside.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::timeout;

use crate::await_it::until;
use crate::rest::{Rest, asked};

/// The node ids, in the order in which they are used.
pub(crate) const IDS: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_snapledger");
/// The exit code of a node whose port is taken.
const USAGE_CODE: i32 = 2;
/// Lines of each log that are shown when a test fails.
const LOG_LINES: usize = 15;

/// A fully connected cluster of programs. They are killed on drop.
pub(crate) struct Programs {
    seats: BTreeMap<&'static str, Seat>,
    /// The address at which one process reaches another, if not the other's own.
    detours: BTreeMap<(&'static str, &'static str), SocketAddr>,
    /// Further tables of the cluster file.
    tables: String,
    dir: TempDir,
}

/// One node: its addresses and its process.
struct Seat {
    grpc: SocketAddr,
    rest: SocketAddr,
    /// The name of the directory of its store.
    store: String,
    /// The command prefix before the program's name.
    inside: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Programs {
    /// Plans this many nodes on a loopback address of their own, so that no outgoing connection can take their ports.
    pub(crate) fn planned(nodes: usize) -> Self {
        static PLANNED: AtomicU32 = AtomicU32::new(0);
        let number = (std::process::id() << 6) + PLANNED.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        let own = IpAddr::from([127, a, b, c.clamp(1, 254)]);
        let host = match TcpListener::bind((own, 0)) {
            Ok(_) => own,
            Err(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        };
        // All ports are held until all are noted, so that they differ.
        let free = || TcpListener::bind((host, 0)).expect("a free port");
        let held: Vec<[TcpListener; 2]> = (0..nodes).map(|_| [free(), free()]).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        let addresses = held.iter().map(|pair| pair.each_ref().map(address));
        Self::at(addresses.collect())
    }

    /// Plans one node per pair of gRPC and REST addresses; none is started yet.
    pub(crate) fn at(addresses: Vec<[SocketAddr; 2]>) -> Self {
        let seat = |id: &str, [grpc, rest]: [SocketAddr; 2]| Seat {
            grpc,
            rest,
            store: id.to_owned(),
            inside: Vec::new(),
            environment: Vec::new(),
            child: None,
        };
        Self {
            seats: IDS
                .into_iter()
                .zip(addresses)
                .map(|(id, pair)| (id, seat(id, pair)))
                .collect(),
            detours: BTreeMap::new(),
            tables: String::new(),
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Sets the command prefix with which this node is started from now on.
    pub(crate) fn run_inside(&mut self, id: &str, command: &[String]) {
        self.seat_mut(id).inside = command.to_vec();
    }

    /// Sets an environment variable with which this node is started from now on.
    pub(crate) fn set(&mut self, id: &str, name: &str, value: &str) {
        let pair = (name.to_owned(), value.to_owned());
        self.seat_mut(id).environment.push(pair);
    }

    /// Sets the address at which `from` reaches `to` from now on.
    pub(crate) fn detour(&mut self, from: &'static str, to: &'static str, address: SocketAddr) {
        self.detours.insert((from, to), address);
    }

    /// Adds a table to the cluster file of all nodes.
    pub(crate) fn add_table(&mut self, table: &str) {
        self.tables += table;
    }

    /// Gives a node that does not run other ports and another directory, as on another machine.
    pub(crate) fn move_to(&mut self, id: &str, store: &str) {
        let seat = self.seat_mut(id);
        let free = || TcpListener::bind((seat.rest.ip(), 0)).expect("a free port");
        let held = [free(), free()];
        let [grpc, rest] = held.each_ref().map(|listener| listener.local_addr());
        seat.grpc = grpc.expect("it is bound");
        seat.rest = rest.expect("it is bound");
        store.clone_into(&mut seat.store);
    }

    /// Leaves a running program to the test, so that another can be started in its place.
    pub(crate) fn give_up(&mut self, id: &str) -> Child {
        self.seat_mut(id).child.take().expect("it runs")
    }

    /// Returns the directory of a node's store.
    pub(crate) fn store(&self, id: &str) -> PathBuf {
        self.file(&self.seat(id).store)
    }

    pub(crate) fn ids(&self) -> Vec<&'static str> {
        self.seats.keys().copied().collect()
    }

    pub(crate) fn rest(&self, id: &str) -> Rest {
        Rest::new(self.address(id))
    }

    /// Returns the node's REST address.
    pub(crate) fn address(&self, id: &str) -> SocketAddr {
        self.seat(id).rest
    }

    pub(crate) fn grpc(&self, id: &str) -> SocketAddr {
        self.seat(id).grpc
    }

    /// Returns the path of a file beside the stores.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id).await;
        }
    }

    /// Starts a stopped node and returns how long it took to become ready.
    pub(crate) async fn start(&mut self, id: &'static str) -> Duration {
        let mut begun = Instant::now();
        self.spawn(id);
        let rest = self.rest(id);
        until(&format!("{id} ready"), async || {
            if let Some(status) = self.ended(id) {
                // Another program may have been given its port for a moment.
                assert_eq!(status.code(), Some(USAGE_CODE), "{id} ended by itself");
                begun = Instant::now();
                self.spawn(id);
            }
            let ready = rest.try_send(asked("/readyz", &[])).await;
            ready.filter(|answer| answer.status == 200).map(|_| ())
        })
        .await;
        begun.elapsed()
    }

    /// Starts a node without waiting for it.
    pub(crate) fn spawn(&mut self, id: &'static str) {
        std::fs::write(self.file(&format!("{id}.toml")), self.cluster_file(id))
            .expect("a file in a temporary directory");
        let config = format!("{id}.toml");
        let seat = self.seat(id);
        let mut line = seat.inside.clone();
        line.push(PROGRAM.to_owned());
        let mut command = Command::new(&line[0]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SNAPLEDGER_") {
                command.env_remove(name);
            }
        }
        command
            .args(&line[1..])
            .args(["node", "--insecure", "--config", &config, "--id", id])
            .current_dir(self.dir.path())
            .env("RUST_LOG", "info")
            .envs(seat.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log(id));
        self.seat_mut(id).child = Some(command.spawn().expect("the program runs"));
    }

    /// Asserts that a node does not end by itself within this time.
    pub(crate) async fn goes_on_for(&mut self, id: &str, time: Duration) {
        let ended = until_ended(self, id);
        let ended = timeout(time, ended).await;
        assert!(ended.is_err(), "{id} ended by itself: {ended:?}");
    }

    /// Kills a node with `kill -9`.
    pub(crate) fn kill(&mut self, id: &str) {
        let mut child = self.seat_mut(id).child.take().expect("it runs");
        child.kill().expect("it was not waited for");
        let status = child.wait().expect("it was killed");
        assert_eq!(status.code(), None, "{id} ended by itself");
    }

    /// Sends a signal, named without `SIG`.
    pub(crate) fn signal(&self, id: &str, name: &str) {
        let mut kill = Command::new("kill");
        kill.args(["-s", name, &self.pid(id).to_string()]);
        let sent = kill.status().expect("the command `kill` is there");
        assert!(sent.success(), "no {name} for {id}");
    }

    /// Stops all nodes gracefully and verifies their stores.
    pub(crate) async fn stop_and_check_all(&mut self) {
        for id in self.ids() {
            self.signal(id, "TERM");
        }
        for id in self.ids() {
            let status = until_ended(self, id).await;
            assert_eq!(status.code(), Some(0), "{id} stops in order");
            self.seat_mut(id).child = None;
        }
        for id in self.ids() {
            let mut check = Command::new(PROGRAM);
            let checked = check.args(["store", "check"]).arg(self.store(id)).output();
            let checked = checked.expect("the program runs");
            assert!(checked.status.success(), "{id}: {checked:?}");
        }
    }

    /// Returns the node's resident memory in bytes; `None` where the system does not report it.
    pub(crate) fn resident_bytes(&self, id: &str) -> Option<u64> {
        Self::resident_in(&self.status_file(id))
    }

    /// Returns the file in which the system reports the memory of a node.
    pub(crate) fn status_file(&self, id: &str) -> PathBuf {
        format!("/proc/{}/status", self.pid(id)).into()
    }

    /// Returns the resident memory in such a file.
    pub(crate) fn resident_in(status: &Path) -> Option<u64> {
        let status = std::fs::read_to_string(status).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Returns how many files a node may open; `None` where the system does not report it.
    pub(crate) fn descriptors_max(&self, id: &str) -> Option<u64> {
        let path = format!("/proc/{}/limits", self.pid(id));
        let limits = std::fs::read_to_string(path).ok()?;
        let mut lines = limits.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    fn pid(&self, id: &str) -> u32 {
        self.seat(id).child.as_ref().expect("it runs").id()
    }

    fn ended(&mut self, id: &str) -> Option<ExitStatus> {
        let child = self.seat_mut(id).child.as_mut().expect("it was started");
        child.try_wait().expect("a child")
    }

    fn log(&self, id: &str) -> File {
        let path = self.file(&format!("{id}.log"));
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.expect("a file in a temporary directory")
    }

    // The cluster file from the point of view of `reader`.
    fn cluster_file(&self, reader: &'static str) -> String {
        let mut text =
            "cluster = \"faults\"\n[snapshot]\ninterval = \"off\"\ndeadline = \"2s\"\n".to_owned();
        for (id, seat) in &self.seats {
            let grpc = self.detours.get(&(reader, id)).unwrap_or(&seat.grpc);
            let (rest, dir) = (seat.rest, self.file(&seat.store));
            text += &format!(
                "[[process]]\nid = {id:?}\ngrpc = \"{grpc}\"\nrest = \"{rest}\"\ndir = {dir:?}\n"
            );
        }
        text + &self.tables
    }

    fn seat(&self, id: &str) -> &Seat {
        self.seats.get(id).expect("it is planned")
    }

    fn seat_mut(&mut self, id: &str) -> &mut Seat {
        self.seats.get_mut(id).expect("it is planned")
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in self
            .seats
            .values_mut()
            .filter_map(|seat| seat.child.as_mut())
        {
            // It may have ended already.
            let _ended = child.kill();
            let _ended = child.wait();
        }
        if std::thread::panicking() {
            for id in self.ids() {
                let log = std::fs::read_to_string(self.file(&format!("{id}.log")));
                let log = log.unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let newest = &lines[lines.len().saturating_sub(LOG_LINES)..];
                eprintln!("the last {id} said:\n{}", newest.join("\n"));
            }
        }
    }
}

async fn until_ended(programs: &mut Programs, id: &str) -> ExitStatus {
    until(&format!("the end of {id}"), async || programs.ended(id)).await
}
