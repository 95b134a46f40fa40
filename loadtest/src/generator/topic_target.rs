//! Writes submissions to a topic, without HTTP.

use std::sync::Arc;

use anyhow::Result;
use formline_core::{EventId, Producer, event::Submission, kafka::record::OutgoingRecord};
use jiff::Timestamp;

use super::{
    students::Students,
    target::{Response, Target},
};

/// A topic. Records are written like by ingest, with the same key, headers, producer and
/// acknowledgement, but without HTTP and validation.
#[derive(Debug)]
pub(crate) struct TopicTarget {
    pub(crate) name: Arc<str>,
    pub(crate) producer: Arc<Producer>,
    pub(crate) students: Arc<Students>,
}

// === impl TopicTarget ===

impl Target for TopicTarget {
    async fn send(&mut self, number: u64) -> Result<Response> {
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
        let record = OutgoingRecord {
            topic: &self.name,
            partition: None,
            key: Some(roll.as_bytes()),
            value: Some(&body),
            headers: submission.headers(),
            timestamp_ms: None,
        };
        self.producer.send(record).await?;
        Ok(Response {
            status: 202,
            id: Some(id),
        })
    }
}
