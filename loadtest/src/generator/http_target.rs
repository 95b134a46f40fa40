//! Sends submissions to a form over HTTP.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;

use super::{
    connection::Connection,
    students::Students,
    target::{Response, Target},
};

/// A form of a server, with one connection.
#[derive(Debug)]
pub(crate) struct HttpTarget {
    connection: Connection,
    students: Arc<Students>,
    request: Vec<u8>,
}

// === impl HttpTarget ===

impl HttpTarget {
    /// Connects to a server; `students` must be complete requests.
    pub(crate) async fn connect(address: SocketAddr, students: Arc<Students>) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(address).await?,
            students,
            request: Vec::new(),
        })
    }
}

impl Target for HttpTarget {
    async fn send(&mut self, number: u64) -> Result<Response> {
        self.students.write(number, &mut self.request);
        self.connection.exchange(&self.request).await
    }
}
