//! Nodes as operating system processes that can be killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use snapledger::bench::ports::free_ports;
use tempfile::TempDir;

use crate::archive_place::Place;
use crate::await_it::until;
use crate::nodes::{address, listen};
use crate::rest::{Rest, asked};

/// One node: its addresses and its program.
struct Seat {
    id: String,
    grpc: String,
    rest: String,
    child: Option<Child>,
}

/// A cluster of programs, killed when dropped.
pub(crate) struct Programs {
    seats: Vec<Seat>,
    dir: TempDir,
    /// With which the programs are started, besides the inherited one.
    environment: Vec<(String, String)>,
}

impl Programs {
    /// Writes the cluster file; starts nothing.
    pub(crate) fn planned(ids: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let free = free_ports(2 * ids.len()).expect("free ports");
        let seats = ids.iter().zip(free.chunks_exact(2)).map(|(id, pair)| Seat {
            id: (*id).to_owned(),
            grpc: format!("127.0.0.1:{}", pair[0]),
            rest: format!("127.0.0.1:{}", pair[1]),
            child: None,
        });
        let programs = Self {
            seats: seats.collect(),
            dir,
            environment: Vec::new(),
        };
        let file = programs.dir.path().join("cluster.toml");
        std::fs::write(file, programs.cluster_file()).expect("a file in it");
        programs
    }

    fn cluster_file(&self) -> String {
        let mut text = "cluster = \"killed\"\n[snapshot]\ninterval = \"off\"\n".to_owned();
        for Seat { id, grpc, rest, .. } in &self.seats {
            text += &format!(
                "[[process]]\nid = {id:?}\ngrpc = {grpc:?}\nrest = {rest:?}\ndir = {:?}\n",
                self.dir.path().join(id)
            );
        }
        text
    }

    /// With scheduled snapshots at this interval.
    pub(crate) fn with_interval(self, interval: &str) -> Self {
        let file = self.dir.path().join("cluster.toml");
        let every = format!("interval = {interval:?}");
        let text = self.cluster_file().replace("interval = \"off\"", &every);
        std::fs::write(file, text).expect("a file in it");
        self
    }

    /// With an archive in a directory next to the stores; `journal` says what waits for it.
    pub(crate) fn with_archive(self, journal: &str) -> Self {
        let archive = self.dir.path().join("archive");
        std::fs::create_dir(&archive).expect("a directory in it");
        self.with_archive_at(&format!("file://{}", archive.display()), journal, "1s")
    }

    /// With an archive at a place; `journal` says what waits for it, `lag_max` how long.
    pub(crate) fn archived_in(mut self, place: &Place, journal: &str, lag_max: &str) -> Self {
        self.environment = place.environment();
        self.with_archive_at(&place.url(), journal, lag_max)
    }

    fn with_archive_at(self, url: &str, journal: &str, lag_max: &str) -> Self {
        let table =
            format!("[archive]\nurl = {url:?}\njournal = {journal:?}\nlag_max = {lag_max:?}\n");
        let file = self.dir.path().join("cluster.toml");
        std::fs::write(file, self.cluster_file() + &table).expect("a file in it");
        self
    }

    /// With other variables in the environment of its programs.
    pub(crate) fn with_environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = environment;
        self
    }

    /// As [`with_archive`](Self::with_archive), with history as tables in it, written at this interval.
    pub(crate) fn with_tables(self, journal: &str, every: &str) -> Self {
        let programs = self.with_archive(journal);
        programs.add_to_file(&format!("tables = {every:?}\n"));
        programs
    }

    /// As [`with_archive`](Self::with_archive), which deletes what is older.
    pub(crate) fn with_archive_kept(self, journal: &str, keep: &str) -> Self {
        let programs = self.with_archive(journal);
        programs.add_to_file(&format!("keep = {keep:?}\n"));
        programs
    }

    /// Nodes that are started from now on delete in the archive what is older.
    pub(crate) fn keep_archived(&self, keep: &str) {
        let file = self.dir.path().join("cluster.toml");
        let text = std::fs::read_to_string(&file).expect("it was written");
        let others = text.lines().filter(|line| !line.starts_with("keep = "));
        let others: String = others.map(|line| format!("{line}\n")).collect();
        std::fs::write(file, others).expect("a file in it");
        self.add_to_file(&format!("keep = {keep:?}\n"));
    }

    /// With these lines about the history.
    pub(crate) fn with_history(self, lines: &str) -> Self {
        self.add_to_file(&format!("[history]\n{lines}\n"));
        self
    }

    fn add_to_file(&self, lines: &str) {
        let file = self.dir.path().join("cluster.toml");
        let mut text = std::fs::read_to_string(&file).expect("it was written");
        text += lines;
        std::fs::write(file, text).expect("a file in it");
    }

    /// With a unary process that is never started.
    pub(crate) fn with_other_make(self, id: &str) -> Self {
        let nowhere = address(&listen("127.0.0.1:0"));
        self.with_other_make_at(id, &nowhere.to_string())
    }

    /// With a unary process that the test starts itself.
    pub(crate) fn with_other_make_at(self, id: &str, address: &str) -> Self {
        let block =
            format!("[[process]]\nid = {id:?}\ngrpc = {address:?}\ntransport = \"unary\"\n");
        self.add_to_file(&block);
        self
    }

    /// Starts every node that is not running and waits until all are ready.
    pub(crate) async fn start(&mut self) {
        let ids: Vec<String> = self.seats.iter().map(|seat| seat.id.clone()).collect();
        for id in ids {
            self.start_one(&id).await;
        }
    }

    /// Starts one node and waits until it is ready.
    pub(crate) async fn start_one(&mut self, id: &str) {
        let (dir, environment) = (self.dir.path().to_owned(), self.environment.clone());
        for seat in self.seats.iter_mut().filter(|seat| seat.id == id) {
            let rest = Rest::new(&seat.rest);
            until(&format!("{} ready", seat.id), async || {
                // The port may be in use for a moment as the local end of another connection: retry.
                let ended = match &mut seat.child {
                    Some(child) => child.try_wait().expect("a child").is_some(),
                    None => true,
                };
                if ended {
                    seat.child = Some(spawn(&dir, &environment, &seat.id));
                }
                let ready = rest.try_send(asked("/readyz", &[])).await;
                ready.filter(|answer| answer.status == 200).map(|_| ())
            })
            .await;
        }
    }

    /// Sends `kill -9` to all.
    pub(crate) fn kill(&mut self) {
        for child in self.seats.iter_mut().filter_map(|seat| seat.child.as_mut()) {
            child.kill().expect("it runs");
        }
        for mut child in self.seats.iter_mut().filter_map(|seat| seat.child.take()) {
            let status = child.wait().expect("it was killed");
            assert_eq!(status.code(), None, "it did not end by itself");
        }
    }

    /// Sends `kill -9` to one.
    pub(crate) fn kill_one(&mut self, id: &str) {
        let seat = self.seats.iter_mut().find(|seat| seat.id == id);
        let child = seat.and_then(|seat| seat.child.take());
        let mut child = child.expect("it was started");
        child.kill().expect("it runs");
        let status = child.wait().expect("it was killed");
        assert_eq!(status.code(), None, "it did not end by itself");
    }

    /// Starts one node and waits until it has ended. Returns its exit code and what it wrote to stderr.
    pub(crate) fn refused(&self, id: &str) -> (Option<i32>, String) {
        let mut command = command(self.dir.path(), &self.environment, id);
        let output = command.output().expect("the program runs");
        let said = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), said)
    }

    /// Starts one node and leaves it to the test, which reads its stderr.
    pub(crate) fn begin(&self, id: &str) -> Child {
        let mut command = command(self.dir.path(), &self.environment, id);
        let started = command.stderr(Stdio::piped()).spawn();
        started.expect("the program runs")
    }

    /// Leaves a running program to the test, so that another can be started in its place.
    pub(crate) fn give_up(&mut self, id: &str) -> Child {
        let seat = self.seats.iter_mut().find(|seat| seat.id == id);
        seat.and_then(|seat| seat.child.take())
            .expect("it was started")
    }

    /// Sends a signal to a running node.
    pub(crate) fn signal(&self, id: &str, signal: Signal) {
        let child = self.seat(id).child.as_ref().expect("it was started");
        rustix::process::kill_process(Pid::from_child(child), signal).expect("it runs");
    }

    /// Stops a node so that none of its threads runs when this returns. The signal alone is only sent: threads run on until
    /// the first of them has taken it.
    pub(crate) fn freeze(&self, id: &str) {
        self.signal(id, Signal::STOP);
        let child = self.seat(id).child.as_ref().expect("it was started");
        let tasks = format!("/proc/{}/task", child.id());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = task.map(|task| std::fs::read_to_string(task.path().join("stat")));
            // The state follows the name, which ends in a bracket.
            matches!(stat, Ok(Ok(stat)) if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
        };
        while !std::fs::read_dir(&tasks).expect("it runs").all(is_stopped) {
            std::thread::yield_now();
        }
    }

    /// A path next to the stores.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn rest(&self, id: &str) -> Rest {
        Rest::new(&self.seat(id).rest)
    }

    pub(crate) fn grpc(&self, id: &str) -> &str {
        &self.seat(id).grpc
    }

    fn seat(&self, id: &str) -> &Seat {
        let seat = self.seats.iter().find(|seat| seat.id == id);
        seat.expect("it is planned")
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in self.seats.iter_mut().filter_map(|seat| seat.child.as_mut()) {
            // It may have ended already.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

fn spawn(dir: &Path, environment: &[(String, String)], id: &str) -> Child {
    command(dir, environment, id)
        .spawn()
        .expect("the program runs")
}

fn command(dir: &Path, environment: &[(String, String)], id: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        // Credentials of the machine are no part of a test.
        if name.starts_with("SNAPLEDGER_") || name.starts_with("AWS_") {
            command.env_remove(&*name);
        }
    }
    command
        .args(["node", "--config", "cluster.toml", "--id", id])
        .current_dir(dir)
        .env("RUST_LOG", "warn")
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}
