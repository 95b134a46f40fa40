//! A proxy between the sink and PostgreSQL that fails at a statement, such as a COMMIT.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::pipeline::Pipeline;

/// The failure of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The statement does not arrive.
    Request,
    /// The statement arrives, the response does not.
    Response,
    /// The statement arrives, and the connection hangs.
    Hang,
}

/// The proxy, with the number of statements that are still to fail.
pub(crate) struct Proxy {
    left: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy in front of the database; the next `count` statements with this text fail.
    pub(crate) async fn before(
        pipeline: &mut Pipeline,
        statement: &'static str,
        fault: Fault,
        count: usize,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_, address) = pipeline.database.split_once('@').unwrap();
        let (server, _) = address.split_once('/').unwrap();
        let own = listener.local_addr().unwrap().to_string();
        pipeline.url = pipeline.database.replace(server, &own);
        let left = Arc::new(AtomicUsize::new(count));
        let (server, counted) = (server.to_owned(), Arc::clone(&left));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let left = Arc::clone(&counted);
                tokio::spawn(copy(client, server, statement, fault, left));
            }
        });
        Self { left }
    }

    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}

/// Copies bytes until a fault occurs or one side closes.
async fn copy(
    mut client: TcpStream,
    mut server: TcpStream,
    statement: &'static str,
    fault: Fault,
    left: Arc<AtomicUsize>,
) {
    let (mut sent, mut response) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            count = client.read(&mut sent) => {
                let Some(count) = count.ok().filter(|count| *count > 0) else { return };
                let mut texts = sent[..count].windows(statement.len());
                if texts.any(|text| text == statement.as_bytes()) && take_one(&left) {
                    if !matches!(fault, Fault::Request) {
                        server.write_all(&sent[..count]).await.unwrap();
                        // The server has executed the statement when it responds.
                        let _executed = server.read(&mut response).await;
                    }
                    if matches!(fault, Fault::Hang) {
                        std::future::pending::<()>().await;
                    }
                    return;
                }
                if server.write_all(&sent[..count]).await.is_err() { return }
            }
            count = server.read(&mut response) => {
                let Some(count) = count.ok().filter(|count| *count > 0) else { return };
                if client.write_all(&response[..count]).await.is_err() { return }
            }
        }
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    let less = |count: usize| count.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}
