//! Free ports of this machine, for servers that are started on them.

use std::io;
use std::net::TcpListener;

use uuid::Uuid;

/// The ports to choose from. Systems give the higher ones to outgoing connections, so a port that was free a moment ago could
/// be the local end of one when its server starts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const TRIES_MAX: usize = 1000;

/// `count` different ports on 127.0.0.1, chosen at random. All are bound until the last is found, then released.
///
/// # Errors
/// The last error if too few ports are free.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut held: Vec<(u16, TcpListener)> = Vec::with_capacity(count);
    let mut failed = 0;
    while held.len() < count {
        let (drawn, _) = Uuid::new_v4().as_u64_pair();
        let port = PORTS.start + u16::try_from(drawn % PORTS.len() as u64).expect("a small range");
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => held.push((port, listener)),
            Err(_) if failed < TRIES_MAX => failed += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}
