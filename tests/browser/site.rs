//! A web site of somebody else: one empty page on a port of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

const PAGE: &str = "<!doctype html><title>elsewhere</title><body>elsewhere";

/// Serves until the test ends.
pub(crate) struct Site(u16);

impl Site {
    pub(crate) fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                std::thread::spawn(move || {
                    let mut socket = socket?;
                    let mut request = [0; 8192];
                    if socket.read(&mut request)? > 0 {
                        write!(
                            socket,
                            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{PAGE}",
                            PAGE.len()
                        )?;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self(port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0
    }
}
