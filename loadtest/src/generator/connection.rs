//! One HTTP/1.1 keep-alive connection that has one request under way at a time.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use formline_core::EventId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Answer, response};

/// A connection. After an error it is of no use.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    /// Whether the server has announced that it closes the connection, as it does when it refuses a body unread.
    closes: bool,
    /// The response as far as it has come.
    response: Vec<u8>,
}

/// The largest response that is taken; a list of 100 violations fits.
const RESPONSE_BYTES: usize = 64 << 10;

// === impl Connection ===

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            address,
            stream: connect(address).await?,
            closes: false,
            response: Vec::with_capacity(1024),
        })
    }

    /// Sends a request, head and body, and waits for the whole response.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        if self.closes {
            (self.stream, self.closes) = (connect(self.address).await?, false);
        }
        self.stream
            .write_all(request)
            .await
            .context("cannot send a request")?;
        self.response.clear();
        loop {
            let read = self
                .stream
                .read_buf(&mut self.response)
                .await
                .context("cannot read a response")?;
            ensure!(
                read > 0,
                "the server closed a connection instead of answering"
            );
            ensure!(
                self.response.len() <= RESPONSE_BYTES,
                "a response is larger than {RESPONSE_BYTES} bytes"
            );
            if let Some(head) = response::parse(&self.response)?
                && head.response_bytes <= self.response.len()
            {
                self.closes = head.closes;
                return Ok(Answer {
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
        .with_context(|| format!("cannot connect to {address}"))?;
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

    /// A server that reads one request and sends what it is told to.
    async fn server(response: &'static [&'static [u8]]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.expect("a request");
            for part in response {
                stream.write_all(part).await.expect("still there");
                stream.flush().await.expect("still there");
                tokio::task::yield_now().await;
            }
        });
        address
    }

    async fn ask(response: &'static [&'static [u8]]) -> Result<Answer> {
        let mut connection = Connection::open(server(response).await).await?;
        connection.exchange(b"GET\n").await
    }

    #[tokio::test]
    async fn a_response_in_pieces_is_read_to_its_end() {
        let parts: &[&[u8]] = &[
            b"HTTP/1.1 202 Accepted\r\nlocation: /v1/submissions/0193",
            b"4c6e-0000-7000-8000-000000000001\r\ncontent-le",
            b"ngth: 4\r\n\r\n{}",
            b"{}",
        ];
        let answer = ask(parts).await.expect("an answer");
        let id = "01934c6e-0000-7000-8000-000000000001"
            .parse()
            .expect("an id");
        assert_eq!(
            answer,
            Answer {
                status: 202,
                id: Some(id)
            }
        );
    }

    #[tokio::test]
    async fn after_an_announced_close_the_next_request_goes_to_a_new_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            for status in [503, 202] {
                let (mut stream, _) = listener.accept().await.expect("a client");
                stream.read_exact(&mut [0; 4]).await.expect("a request");
                let answer = format!(
                    "HTTP/1.1 {status} x\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.expect("there");
            }
        });
        let mut connection = Connection::open(address).await.expect("it listens");
        for status in [503, 202] {
            let answer = connection.exchange(b"GET\n").await.expect("an answer");
            assert_eq!(answer.status, status);
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        let closed = ask(&[b"HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\n{}"]).await;
        assert!(
            closed
                .expect_err("two bytes are missing")
                .to_string()
                .contains("closed a connection")
        );
        const ENDLESS: &[&[u8]] = &[&[b'x'; RESPONSE_BYTES + 1]];
        let endless = ask(ENDLESS).await;
        assert!(
            endless
                .expect_err("no end of the head")
                .to_string()
                .contains("larger than")
        );
    }
}
