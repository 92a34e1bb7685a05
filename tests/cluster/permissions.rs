//! Everything that the program creates belongs to its user alone, also under a loose umask, and no link is followed.
//! Without this, every user of the machine can read the balances in a store, a backup or an export.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;

use tempfile::TempDir;

use crate::nodes::{address, listen};

/// A directory in which everybody may look, and the umask of the commands that run there.
pub(crate) struct Place {
    dir: TempDir,
    umask: &'static str,
    pub(crate) grpc: u16,
    pub(crate) rest: u16,
}

impl Place {
    pub(crate) fn new(umask: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let free: [TcpListener; 2] = [listen("127.0.0.1:0"), listen("127.0.0.1:0")];
        let [grpc, rest] = free.map(|socket| address(&socket).port());
        Self {
            dir,
            umask,
            grpc,
            rest,
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SNAPLEDGER_") {
                command.env_remove(name);
            }
        }
        let script = format!("umask {}; exec \"$@\"", self.umask);
        command
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_snapledger")])
            .args(arguments)
            .env("SNAPLEDGER_REST", format!("http://127.0.0.1:{}", self.rest))
            .current_dir(self.dir.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("there is a shell")
    }

    #[track_caller]
    pub(crate) fn succeeds(&self, arguments: &[&str]) {
        let ran = self.run(arguments);
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {stderr}");
    }

    // The program stops at the end of its stdin. `ready` begins a line that it writes to stdout or stderr.
    fn start(&self, arguments: &[&str], ready: &str) -> Server {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let stderr = child.stderr.take().expect("it is a pipe");
        let stdout = child.stdout.take().expect("it is a pipe");
        let (lines, heard) = std::sync::mpsc::channel();
        for pipe in [
            Box::new(stdout) as Box<dyn std::io::Read + Send>,
            Box::new(stderr),
        ] {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    // The test may have ended.
                    let _ = lines.send(line);
                }
            });
        }
        drop(lines);
        let mut log = String::new();
        for line in heard.iter() {
            log += &format!("{line}\n");
            if line.contains(ready) {
                break;
            }
        }
        assert!(log.contains(ready), "{arguments:?}: {log}");
        Server { child, log, heard }
    }

    fn node(&self, store: &str) -> Server {
        self.node_with(store, &[])
    }

    /// Starts a node with further options and waits until it is ready.
    pub(crate) fn node_with(&self, store: &str, more: &[&str]) -> Server {
        let (grpc, rest) = (self.grpc.to_string(), self.rest.to_string());
        let at = ["--port", &grpc, "--rest-port", &rest, "--dir", store];
        let node = ["node", "--stop-with-stdin", "--node-id", "n1"];
        self.start(&[&node[..], &at, more].concat(), "ready: grpc")
    }

    /// The metrics of the running node.
    pub(crate) fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.rest);
        let mut answer = ureq::get(url).call().expect("it runs");
        answer.body_mut().read_to_string().expect("it is text")
    }

    /// Every file and directory that others than its owner may use.
    fn loose(&self) -> Vec<String> {
        let mut found = Vec::new();
        look(self.dir.path(), &mut found);
        found
    }
}

fn look(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("it can be listed") {
        let path = entry.expect("an entry").path();
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let mode = metadata.permissions().mode() & 0o777;
        if !metadata.is_symlink() && mode & 0o077 != 0 {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if metadata.is_dir() {
            look(&path, found);
        }
    }
}

/// A running program.
pub(crate) struct Server {
    child: Child,
    /// What it wrote until it was ready.
    log: String,
    /// What it writes afterwards.
    heard: Receiver<String>,
}

impl Server {
    /// Stops it; everything that it wrote.
    pub(crate) fn stop(mut self) -> String {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {}", self.log);
        self.log.extend(self.heard.iter().map(|line| line + "\n"));
        std::mem::take(&mut self.log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn all_is_private_under(umask: &'static str) {
    let place = Place::new(umask);
    let node = place.node("store/n1");
    place.succeeds(&["account", "deposit", "alice", "1000"]);
    place.succeeds(&["snapshot", "take", "--id", "s"]);
    place.succeeds(&["snapshot", "export", "s"]);
    place.succeeds(&["snapshot", "proof", "s", "alice"]);
    place.succeeds(&["backup", "--into", "backups/n1"]);
    let log = node.stop();
    assert!(!log.contains("could read this store"), "{log}");
    place.succeeds(&["restore", "--file", "s.snapledger", "--into", "restored"]);
    place.succeeds(&[
        "restore",
        "--snapshot",
        "s",
        "--from",
        "store/n1",
        "--into",
        "again",
    ]);
    let (grpc, rest) = (place.grpc.to_string(), place.rest.to_string());
    let ports = ["--grpc-port", &grpc, "--rest-port", &rest];
    let cluster = ["cluster", "--nodes", "1", "--dir", "cluster"];
    let mut running = place.start(&[&cluster[..], &ports].concat(), "to try:");
    let pid = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    running.child.wait().expect("it ends");
    for made in [
        "s.snapledger",
        "alice.proof",
        "cluster/cluster.toml",
        "restored/cluster.toml",
    ] {
        assert!(place.at(made).is_file(), "{made}");
    }
    assert_eq!(place.loose(), Vec::<String>::new(), "umask {umask}");

    // As an older version left it.
    for entry in fs::read_dir(place.at("store/n1")).expect("a store") {
        let path = entry.expect("an entry").path();
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }
    fs::set_permissions(place.at("store/n1"), Permissions::from_mode(0o755)).expect("it is ours");
    let log = place.node("store/n1").stop();
    assert_eq!(log.matches("could read this store").count(), 1, "{log}");
    assert_eq!(place.loose(), Vec::<String>::new(), "umask {umask}");
}

#[test]
fn what_is_created_is_private_under_a_loose_umask() {
    all_is_private_under("000");
}

#[test]
fn what_is_created_is_private_under_a_strict_umask() {
    all_is_private_under("077");
}

#[test]
fn no_command_writes_where_a_link_leads() {
    let place = Place::new("022");
    let node = place.node("store/n1");
    place.succeeds(&["snapshot", "take", "--id", "s"]);
    fs::write(place.at("victim"), "untouched").expect("there is room");
    fs::create_dir(place.at("elsewhere")).expect("there is room");
    for (link, to) in [
        ("out", "victim"),
        ("s.snapledger", "victim"),
        ("into", "elsewhere"),
        (".staged.restoring", "elsewhere"),
    ] {
        symlink(place.at(to), place.at(link)).expect("a link");
    }
    let refused: [&[&str]; 6] = [
        &["snapshot", "export", "s"],
        &["snapshot", "export", "s", "--out", "out"],
        &["snapshot", "proof", "s", "alice", "--out", "out"],
        &["backup", "--into", "into"],
        &["backup", "--into", "staged"],
        &["restore", "--file", "none", "--into", "staged"],
    ];
    for arguments in refused {
        let ran = place.run(arguments);
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {stderr}");
    }
    node.stop();
    let mut victim = String::new();
    let mut file = fs::File::open(place.at("victim")).expect("it is there");
    file.read_to_string(&mut victim).expect("it is text");
    assert_eq!(victim, "untouched");
    let written = fs::read_dir(place.at("elsewhere")).expect("a directory");
    assert_eq!(written.count(), 0);
}
