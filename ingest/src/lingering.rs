//! A connection that is closed in two steps (RFC 9112, 9.6): first our side, then, when the client has stopped sending
//! too, the whole. Closed at once while a body is still on its way, it would be reset, and the client would lose the very
//! answer, such as 413, that tells it to stop.

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

/// A TCP connection whose shutdown waits for the client's.
#[derive(Debug)]
pub(crate) struct Lingering {
    stream: TcpStream,
    /// Set when our side is closed: until then what still comes is thrown away.
    limit: Option<Pin<Box<Sleep>>>,
}

/// A client that does not stop by then is cut off.
const LIMIT: Duration = Duration::from_secs(1);

// === impl Lingering ===

impl Lingering {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            limit: None,
        }
    }

    /// Ready when the client has closed its side or the connection broke.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut rubbish = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut rubbish);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lingering {
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
        if self.limit.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.limit = Some(Box::pin(sleep(LIMIT)));
        }
        if self.poll_discard(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let limit = self.limit.as_mut().expect("it was set above");
        limit.as_mut().poll(context).map(Ok)
    }
}
