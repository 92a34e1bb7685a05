//! A single node as a program, alone in its cluster.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use snapledger::bench::ports::free_ports;

use crate::await_it::until;
use crate::rest::{Rest, asked};

/// A node that runs or has ended. It is killed when dropped.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
    pub(crate) rest: Rest,
    pub(crate) grpc: String,
}

impl Program {
    /// Starts a node with its store in `home/store` and waits until it is ready.
    pub(crate) async fn start(home: &Path, options: &[&str]) -> Self {
        let mut program = Self::spawn(home, options);
        until("a node that is ready", async || {
            // A port that was free a moment ago may be taken: retry.
            if program.child.try_wait().expect("a child").is_some() {
                let log = program.log();
                assert!(log.contains("the port is in use"), "{log}");
                program = Self::spawn(home, options);
            }
            program.answers().await.then_some(())
        })
        .await;
        program
    }

    /// Starts a node without waiting.
    pub(crate) fn spawn(home: &Path, options: &[&str]) -> Self {
        let [grpc, rest] = free_ports(2).expect("free ports")[..] else {
            unreachable!("two were asked for");
        };
        let log = home.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SNAPLEDGER_") {
                command.env_remove(name);
            }
        }
        command
            .args([
                "node",
                "--id",
                "n1",
                "--dir",
                "store",
                "--snapshot-interval",
                "off",
            ])
            .args([
                "--port",
                &grpc.to_string(),
                "--rest-port",
                &rest.to_string(),
            ])
            .args(options)
            .current_dir(home)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("there is room"));
        Self {
            child: command.spawn().expect("the program runs"),
            log,
            rest: Rest::new(format!("127.0.0.1:{rest}")),
            grpc: format!("http://127.0.0.1:{grpc}"),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its stderr so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("it was created")
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is this program's child");
        self.child.wait().expect("it was killed");
    }

    /// Waits until it has ended by itself. Returns the exit code, or `None` if a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = until("the end of the node", async || {
            child.try_wait().expect("it is this program's child")
        });
        status.await.code()
    }

    /// Checks that it has stopped because of its store, with one sentence.
    pub(crate) async fn assert_stopped(&mut self) -> String {
        let code = self.ended().await;
        let log = self.log();
        assert_eq!(code, Some(3), "{log}");
        let errors: Vec<&str> = log
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        let [sentence] = errors[..] else {
            unreachable!("one sentence in: {log}");
        };
        assert!(!log.contains("panicked"), "{log}");
        sentence.to_owned()
    }

    async fn answers(&self) -> bool {
        let ready = self.rest.try_send(asked("/healthz", &[])).await;
        ready.is_some_and(|answer| answer.status == 200)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
