//! Free ports of this machine, for servers that are started on them.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The ports to choose from. Systems give the higher ones to outgoing connections, so a port that was free a moment ago could
/// be the local end of one when its server starts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const TRIES_MAX: usize = 1000;

/// The ports that this program has chosen before. A server that was given one may not have bound it yet.
static CHOSEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// `count` different ports on 127.0.0.1, chosen at random, and none twice before half of them were. All are bound until the last
/// is found, then released.
///
/// # Errors
/// The last error if too few ports are free.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut held: Vec<(u16, TcpListener)> = Vec::with_capacity(count);
    let mut failed = 0;
    let mut chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner);
    if chosen.len() + count > PORTS.len() / 2 {
        chosen.clear();
    }
    while held.len() < count {
        let (drawn, _) = Uuid::new_v4().as_u64_pair();
        let port = PORTS.start + u16::try_from(drawn % PORTS.len() as u64).expect("a small range");
        if chosen.contains(&port) {
            continue;
        }
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => {
                chosen.insert(port);
                held.push((port, listener));
            }
            Err(_) if failed < TRIES_MAX => failed += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}
