//! Stores a topic in a table with COPY, and commits its offsets afterwards: what a sink costs without Formline.
//!
//! The table has the columns of the sink's and no index, and what a crash makes it read again is there twice.

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

/// One thread, one member of a consumer group of its own, one connection.
#[derive(Debug)]
struct StoreLoop {
    consumer: Member,
    connection: PgConnection,
    batch: usize,
}

/// rdkafka's consumer says nothing of itself.
struct Member(BaseConsumer);

/// Makes the table that [`run`] fills.
pub const TABLE: &str = "
CREATE TABLE bare (
    id text, source text, submission_id text, type text, subject text, accepted_at timestamptz, value jsonb,
    plugin text, kafka_topic text, kafka_partition integer, kafka_offset bigint,
    stored_at timestamptz NOT NULL DEFAULT now()
)";

const COPY: &str = "
COPY bare (id, source, submission_id, type, subject, accepted_at, value, plugin,
    kafka_topic, kafka_partition, kafka_offset) FROM STDIN";

const IDLE: Duration = Duration::from_millis(100);

/// Stores until something fails; a transaction has at most `batch` rows.
///
/// # Errors
/// What Kafka or PostgreSQL says.
pub async fn run(bootstrap: &str, topic: &str, batch: usize, url: &str) -> Result<()> {
    let connection = PgConnection::connect(url)
        .await
        .context("cannot connect to PostgreSQL")?;
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

/// The group of the loop that stores this topic.
pub(crate) fn group(topic: &str) -> String {
    format!("formline-loadtest.{topic}.store")
}

// === impl StoreLoop ===

impl StoreLoop {
    fn run(&mut self, runtime: &Handle) -> Result<()> {
        loop {
            let (mut rows, mut next) = (String::new(), TopicPartitionList::new());
            self.take(&mut rows, &mut next)?;
            if next.count() > 0 {
                runtime.block_on(self.store(rows.as_bytes()))?;
                self.consumer.0.commit(&next, CommitMode::Async)?;
            }
        }
    }

    /// Writes what the consumer holds as rows; waits a moment if that is nothing.
    fn take(&self, rows: &mut String, next: &mut TopicPartitionList) -> Result<()> {
        let consumer = &self.consumer.0;
        let first = consumer.poll(IDLE);
        let held = std::iter::from_fn(|| consumer.poll(Duration::ZERO));
        for polled in first.into_iter().chain(held).take(self.batch) {
            match polled {
                Ok(message) => {
                    write_row(rows, &message)?;
                    copy_loop::put_offset(next, &message)?;
                }
                Err(fatal @ KafkaError::MessageConsumptionFatal(_)) => return Err(fatal.into()),
                // Of itself librdkafka tries again what may pass, such as a broker that is away.
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

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Member")
    }
}

/// Writes a record in the order of the columns of `COPY`.
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

/// One field in the text format of COPY, with the tab behind it.
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
    fn what_copy_would_take_for_an_end_is_escaped() {
        let mut row = String::new();
        for field in [Some("a\tb\\\r\n"), None, Some("")] {
            write_field(&mut row, field);
        }
        assert_eq!(row, "a\\tb\\\\\\r\\n\t\\N\t\t");
    }
}
