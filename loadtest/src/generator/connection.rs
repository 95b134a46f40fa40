//! An HTTP/1.1 keep-alive connection that handles one request at a time.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use formline_core::EventId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{response_head, target::Response};

/// A connection. It must not be used after an error.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    /// Whether the server has announced that it closes the connection, for instance when it rejects
    /// a body without reading.
    closes: bool,
    /// The received part of the response.
    response: Vec<u8>,
}

/// Maximum size of a response in bytes; a list of 100 violations fits.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

// === impl Connection ===

impl Connection {
    /// Connects to a server.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            address,
            stream: connect(address).await?,
            closes: false,
            response: Vec::with_capacity(1024),
        })
    }

    /// Sends a request with its body, and waits for the complete response.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        if self.closes {
            (self.stream, self.closes) = (connect(self.address).await?, false);
        }
        self.stream
            .write_all(request)
            .await
            .context("failed to send a request")?;
        self.response.clear();
        loop {
            let read = self
                .stream
                .read_buf(&mut self.response)
                .await
                .context("failed to read a response")?;
            ensure!(
                read > 0,
                "the server closed a connection without a complete response"
            );
            ensure!(
                self.response.len() <= MAX_RESPONSE_BYTES,
                "a response is larger than {MAX_RESPONSE_BYTES} bytes"
            );
            if let Some(head) = response_head::parse(&self.response)?
                && head.response_bytes <= self.response.len()
            {
                self.closes = head.closes;
                return Ok(Response {
                    status: head.status,
                    id: head.location.and_then(id),
                });
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("failed to connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The id at the end of `/v1/submissions/{id}`.
fn id(location: &str) -> Option<EventId> {
    location.rsplit_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that reads one request and sends these parts of a response.
    async fn server(response: &'static [&'static [u8]]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.expect("a request");
            for part in response {
                stream
                    .write_all(part)
                    .await
                    .expect("the client is connected");
                stream.flush().await.expect("the client is connected");
                tokio::task::yield_now().await;
            }
        });
        address
    }

    async fn exchange(response: &'static [&'static [u8]]) -> Result<Response> {
        let mut connection = Connection::open(server(response).await).await?;
        connection.exchange(b"GET\n").await
    }

    #[tokio::test]
    async fn a_response_in_several_parts_is_read_completely() {
        let parts: &[&[u8]] = &[
            b"HTTP/1.1 202 Accepted\r\nlocation: /v1/submissions/0193",
            b"4c6e-0000-7000-8000-000000000001\r\ncontent-le",
            b"ngth: 4\r\n\r\n{}",
            b"{}",
        ];
        let received = exchange(parts).await.expect("a response");
        let id = "01934c6e-0000-7000-8000-000000000001"
            .parse()
            .expect("a valid id");
        assert_eq!(
            received,
            Response {
                status: 202,
                id: Some(id)
            }
        );
    }

    #[tokio::test]
    async fn after_an_announced_close_the_next_request_uses_a_new_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            for status in [503, 202] {
                let (mut stream, _) = listener.accept().await.expect("a client");
                stream.read_exact(&mut [0; 4]).await.expect("a request");
                let response = format!(
                    "HTTP/1.1 {status} x\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"
                );
                stream
                    .write_all(response.as_bytes())
                    .await
                    .expect("the client is connected");
            }
        });
        let mut connection = Connection::open(address).await.expect("the server accepts");
        for status in [503, 202] {
            let response = connection.exchange(b"GET\n").await.expect("a response");
            assert_eq!(response.status, status);
        }
    }

    #[tokio::test]
    async fn an_incomplete_or_endless_response_is_an_error() {
        let closed = exchange(&[b"HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\n{}"]).await;
        assert!(
            closed
                .expect_err("the body is not complete")
                .to_string()
                .contains("closed a connection")
        );
        const ENDLESS: &[&[u8]] = &[&[b'x'; MAX_RESPONSE_BYTES + 1]];
        let endless = exchange(ENDLESS).await;
        assert!(
            endless
                .expect_err("the head has no end")
                .to_string()
                .contains("larger than")
        );
    }
}
