//! strace attached to a running node: the next system call of a kind, on any thread, kills the node, fails or is
//! delayed.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::await_it::until;
use crate::required;

/// The strace process, killed when dropped.
pub(crate) struct Saboteur(Child);

impl Saboteur {
    /// Injects `what` into the `when`th call with this name that a thread makes; `None`, with a message, if strace is
    /// not available.
    pub(crate) async fn attach(process: u32, call: &str, what: &str, when: u32) -> Option<Self> {
        let inject = format!("inject={call}:{what}:when={when}");
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
            &inject,
        ]);
        strace.args(["-p", &process.to_string()]);
        let started = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut saboteur = match started {
            Ok(child) => Self(child),
            Err(why) => {
                println!("strace cannot run: {why}");
                required::absent("strace");
                return None;
            }
        };
        until("strace at every thread", async || {
            let refused = saboteur.0.try_wait().expect("it is a child").is_some();
            (refused || is_traced(process)).then_some(refused)
        })
        .await;
        if saboteur.0.try_wait().expect("it is a child").is_some() {
            required::absent("strace");
            return None;
        }
        Some(saboteur)
    }
}

impl Drop for Saboteur {
    fn drop(&mut self) {
        // It also ends with the traced program.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn is_traced(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status"));
        status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    })
}
