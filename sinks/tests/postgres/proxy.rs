//! A stretch of network between sink and PostgreSQL that fails at a statement, such as a COMMIT.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::line::Line;

/// What happens to a statement.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It does not arrive.
    Lost,
    /// It arrives, the answer does not.
    Answer,
    /// It arrives, and then nothing is heard for ever.
    Silence,
}

/// Statements that are still to fail.
pub(crate) struct Proxy {
    left: Arc<AtomicUsize>,
}

impl Proxy {
    /// Puts itself between the sink and its database; the next `count` statements that begin like this fail.
    pub(crate) async fn before(
        line: &mut Line,
        statement: &'static str,
        fault: Fault,
        count: usize,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_, address) = line.database.split_once('@').unwrap();
        let (server, _) = address.split_once('/').unwrap();
        let own = listener.local_addr().unwrap().to_string();
        line.url = line.database.replace(server, &own);
        let left = Arc::new(AtomicUsize::new(count));
        let (server, counted) = (server.to_owned(), Arc::clone(&left));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let left = Arc::clone(&counted);
                tokio::spawn(carry(client, server, statement, fault, left));
            }
        });
        Self { left }
    }

    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}

/// Until a fault or one of the two ends.
async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    statement: &'static str,
    fault: Fault,
    left: Arc<AtomicUsize>,
) {
    let (mut sent, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            count = client.read(&mut sent) => {
                let Some(count) = count.ok().filter(|count| *count > 0) else { return };
                let mut texts = sent[..count].windows(statement.len());
                if texts.any(|text| text == statement.as_bytes()) && take_one(&left) {
                    if !matches!(fault, Fault::Lost) {
                        server.write_all(&sent[..count]).await.unwrap();
                        // The server has done it when it answers.
                        let _answered = server.read(&mut answer).await;
                    }
                    if matches!(fault, Fault::Silence) {
                        std::future::pending::<()>().await;
                    }
                    return;
                }
                if server.write_all(&sent[..count]).await.is_err() { return }
            }
            count = server.read(&mut answer) => {
                let Some(count) = count.ok().filter(|count| *count > 0) else { return };
                if client.write_all(&answer[..count]).await.is_err() { return }
            }
        }
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    let less = |count: usize| count.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}
