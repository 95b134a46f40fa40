//! A lingering close (RFC 9112, 9.6): the server closes its side, discards what the client still
//! sends, and closes the connection when the client has closed its side. Closing a connection at
//! once while a body is in flight resets it, and the client loses the response, such as 413, that
//! tells it to stop.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// A TCP connection whose shutdown waits for the client to close its side.
#[derive(Debug)]
pub(super) struct LingeringClose {
    stream: TcpStream,
    /// Set when our side is closed: how long received bytes are discarded.
    timeout: Option<Pin<Box<Sleep>>>,
}

/// How long to wait for the client to close its side.
const TIMEOUT: Duration = Duration::from_secs(1);

// === impl LingeringClose ===

impl LingeringClose {
    /// Wraps an open connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            timeout: None,
        }
    }

    /// Discards received bytes; ready when the client has closed its side or the connection is
    /// broken.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut discarded = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for LingeringClose {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LingeringClose {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.timeout.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.timeout = Some(Box::pin(sleep(TIMEOUT)));
        }
        if self.poll_discard(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let timeout = self.timeout.as_mut().expect("the branch above sets it");
        timeout.as_mut().poll(context).map(Ok)
    }
}
