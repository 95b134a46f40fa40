//! Where the generator sends: a form over HTTP, or a topic of Kafka without any HTTP.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use formline_core::{EventId, Producer, event::Submission, record::Outgoing};
use jiff::Timestamp;

use super::{Answer, Connection, Students, Target};

/// A form of a server, over one connection.
#[derive(Debug)]
pub(crate) struct Http {
    connection: Connection,
    students: Arc<Students>,
    request: Vec<u8>,
}

/// A topic, written as ingest writes it: the same key, headers, producer and acknowledgement. Only HTTP and the checks
/// are left out.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) producer: Arc<Producer>,
    pub(crate) students: Arc<Students>,
}

// === impl Http ===

impl Http {
    /// Connects; `students` must be whole requests.
    pub(crate) async fn connect(address: SocketAddr, students: Arc<Students>) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(address).await?,
            students,
            request: Vec::new(),
        })
    }
}

impl Target for Http {
    async fn send(&mut self, number: u64) -> Result<Answer> {
        self.students.write(number, &mut self.request);
        self.connection.exchange(&self.request).await
    }
}

// === impl Topic ===

impl Target for Topic {
    async fn send(&mut self, number: u64) -> Result<Answer> {
        let (id, roll) = (EventId::new(), self.students.roll(number));
        let mut body = Vec::new();
        self.students.write(number, &mut body);
        let submission = Submission {
            id,
            time: Timestamp::now(),
            form: "student-data",
            subject: Some(&roll),
            schema: "/v1/forms/student-data/schema",
            trace_parent: None,
            fingerprint: None,
        };
        let record = Outgoing {
            topic: &self.name,
            partition: None,
            key: Some(roll.as_bytes()),
            value: Some(&body),
            headers: submission.headers(),
            timestamp_ms: None,
        };
        self.producer.send(record).await?;
        Ok(Answer {
            status: 202,
            id: Some(id),
        })
    }
}
