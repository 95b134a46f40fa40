//! Stores a topic in a table with COPY, and commits its offsets afterwards: the cost of a sink
//! without Formline.
//!
//! The table has the columns of the sink's table and no index. Records that are read again after a
//! crash are stored twice.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use formline_core::event::header;
use rdkafka::{
    Message as _, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
};
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Handle;

use super::copy_loop;

/// A loop with its own consumer group and one connection.
#[derive(Debug)]
struct StoreLoop {
    consumer: Member,
    connection: PgConnection,
    batch: usize,
}

/// Implements `Debug`, which rdkafka's consumer does not.
struct Member(BaseConsumer);

/// Creates the table that [`run`] fills.
pub const TABLE: &str = "
CREATE TABLE bare (
    id text, source text, submission_id text, type text, subject text, accepted_at timestamptz, value jsonb,
    plugin text, kafka_topic text, kafka_partition integer, kafka_offset bigint,
    stored_at timestamptz NOT NULL DEFAULT now()
)";

/// The columns that `write_row` writes.
const COPY: &str = "
COPY bare (id, source, submission_id, type, subject, accepted_at, value, plugin,
    kafka_topic, kafka_partition, kafka_offset) FROM STDIN";

/// How long to wait for the first record of a batch.
const IDLE: Duration = Duration::from_millis(100);

/// Stores records until an error occurs; a transaction has at most `batch` rows.
///
/// # Errors
///
/// If a request to Kafka or PostgreSQL fails.
pub async fn run(bootstrap: &str, topic: &str, batch: usize, url: &str) -> Result<()> {
    let connection = PgConnection::connect(url)
        .await
        .context("failed to connect to PostgreSQL")?;
    let consumer: BaseConsumer = copy_loop::consumer(bootstrap, &group(topic)).create()?;
    consumer.subscribe(&[topic])?;
    let mut store = StoreLoop {
        consumer: Member(consumer),
        connection,
        batch,
    };
    let runtime = Handle::current();
    let running = tokio::task::spawn_blocking(move || store.run(&runtime));
    running.await.context("the loop panicked")?
}

/// The consumer group of the loop that stores this topic.
pub(crate) fn group(topic: &str) -> String {
    format!("formline-loadtest.{topic}.store")
}

// === impl StoreLoop ===

impl StoreLoop {
    fn run(&mut self, runtime: &Handle) -> Result<()> {
        loop {
            let (mut rows, mut next) = (String::new(), TopicPartitionList::new());
            self.read_batch(&mut rows, &mut next)?;
            if next.count() > 0 {
                runtime.block_on(self.store(rows.as_bytes()))?;
                self.consumer.0.commit(&next, CommitMode::Async)?;
            }
        }
    }

    /// Writes the records in the consumer's queue as rows; waits for `IDLE` if it is empty.
    fn read_batch(&self, rows: &mut String, next: &mut TopicPartitionList) -> Result<()> {
        let consumer = &self.consumer.0;
        let first = consumer.poll(IDLE);
        let queued = std::iter::from_fn(|| consumer.poll(Duration::ZERO));
        for polled in first.into_iter().chain(queued).take(self.batch) {
            match polled {
                Ok(message) => {
                    write_row(rows, &message)?;
                    copy_loop::put_offset(next, &message)?;
                }
                Err(fatal @ KafkaError::MessageConsumptionFatal(_)) => return Err(fatal.into()),
                // librdkafka retries transient errors by itself, for instance an unavailable
                // broker.
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn store(&mut self, rows: &[u8]) -> Result<()> {
        let mut copy = self.connection.copy_in_raw(COPY).await?;
        copy.send(rows).await?;
        copy.finish().await?;
        Ok(())
    }
}

// === impl Member ===

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Member")
    }
}

/// Writes a record as a row with the columns of `COPY`.
fn write_row(rows: &mut String, message: &BorrowedMessage<'_>) -> Result<()> {
    let header = |name| text_header(message, name);
    let id = header(header::ID);
    let value = message.payload().map(str::from_utf8).transpose()?;
    for field in [
        id,
        header(header::SOURCE),
        header(header::ORIGIN).or(id),
        header(header::TYPE),
        header(header::SUBJECT),
        header(header::TIME),
        value,
        header(header::PLUGIN),
        Some(message.topic()),
    ] {
        write_field(rows, field);
    }
    writeln!(rows, "{}\t{}", message.partition(), message.offset())?;
    Ok(())
}

fn text_header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    let found = message
        .headers()?
        .iter()
        .find(|header| header.key == name)?;
    str::from_utf8(found.value?).ok()
}

/// Writes one field in the text format of COPY, followed by a tab.
fn write_field(rows: &mut String, field: Option<&str>) {
    match field {
        None => rows.push_str(r"\N"),
        Some(text) => {
            for character in text.chars() {
                match character {
                    '\\' => rows.push_str(r"\\"),
                    '\t' => rows.push_str(r"\t"),
                    '\n' => rows.push_str(r"\n"),
                    '\r' => rows.push_str(r"\r"),
                    other => rows.push(other),
                }
            }
        }
    }
    rows.push('\t');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_in_a_field_are_escaped() {
        let mut row = String::new();
        for field in [Some("a\tb\\\r\n"), None, Some("")] {
            write_field(&mut row, field);
        }
        assert_eq!(row, "a\\tb\\\\\\r\\n\t\\N\t\t");
    }
}
