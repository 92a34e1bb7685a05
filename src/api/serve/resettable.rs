//! The writing half of a connection that can be closed with a reset (RST) instead of an orderly end (FIN).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;

/// Closes the connection when dropped; with a reset if the flag is set by then.
pub(in crate::api) struct Resettable {
    /// `Some` until dropped.
    write: Option<OwnedWriteHalf>,
    reset: Arc<AtomicBool>,
}

impl Resettable {
    /// The half, and the flag that requests a reset.
    pub(in crate::api) fn of(write: OwnedWriteHalf) -> (Self, Arc<AtomicBool>) {
        let reset = Arc::new(AtomicBool::new(false));
        let resettable = Self {
            write: Some(write),
            reset: Arc::clone(&reset),
        };
        (resettable, reset)
    }

    fn write(&mut self) -> Pin<&mut OwnedWriteHalf> {
        Pin::new(self.write.as_mut().expect("only the end takes it"))
    }
}

impl Drop for Resettable {
    fn drop(&mut self) {
        let write = self.write.take();
        if let Some(write) = write.filter(|_| self.reset.load(Ordering::Relaxed)) {
            // If the socket is gone there is nothing to reset.
            let _gone = write.as_ref().set_zero_linger();
            // Dropping the half would send FIN.
            write.forget();
        }
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write().poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.write
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write().poll_shutdown(context)
    }
}
