//! Free ports of this machine.

use std::net::TcpListener;

use crate::cli::CliError;

/// `count` different ports. All are bound until the last is found, then released. Another program may take one before
/// its server starts, which then reports it.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>, CliError> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| bind())
        .collect::<Result<_, _>>()
        .map_err(CliError::Runtime)?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners
        .iter()
        .map(port)
        .collect::<Result<_, _>>()
        .map_err(CliError::Runtime)
}
