//! Why a sink cannot work. What passes by itself is not here: sinks wait for it.

use std::path::PathBuf;

use formline_core::{client, consumer, producer};

/// Why a sink stops. Its records wait in Kafka, and other sinks go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody has said which Google. Stop.
    #[error(
        "no Google credentials; set GOOGLE_APPLICATION_CREDENTIALS, or write to an emulator with --sheets HOST:PORT"
    )]
    NoGoogle,
    /// Nobody has said where the database of a sink is. Stop.
    #[error(
        "sink {0} writes to PostgreSQL; set FORMLINE_POSTGRES_URL to postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    NoPostgres(String),
    /// The address of the database cannot be read. Stop.
    #[error(
        "the address of PostgreSQL cannot be used: {0}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    PostgresUrl(#[source] sqlx::Error),
    /// Nobody has said which server takes the mails of a sink. Stop.
    #[error("sink {0} sends e-mails; set FORMLINE_SMTP_URL to smtps://USER:PASSWORD@HOST:PORT")]
    NoSmtp(String),
    /// The address of the server cannot be read. Stop.
    #[error(
        "the address of the smtp server cannot be used: {0}; write smtps://USER:PASSWORD@HOST:PORT, or smtp://… for STARTTLS"
    )]
    SmtpUrl(String),
    /// An address or a template of an email sink cannot be used. Stop.
    #[error("{0}")]
    Email(Box<formline_core::Mistake>),
    /// Nobody has said where the Redis of a sink is. Stop.
    #[error(
        "sink {0} buffers in Redis; set FORMLINE_REDIS_URL to redis://HOST:PORT, or FORMLINE_REDIS_SENTINELS and FORMLINE_REDIS_MASTER"
    )]
    NoRedis(String),
    /// A flush sees only what waits in Redis. Stop.
    #[error(
        "sink {0} keeps no rows in Redis; write kind = \"sheets\" and buffer = \"redis\" in the app, or leave it to itself"
    )]
    NothingToFlush(String),
    /// Google takes no row. What waits is still there.
    #[error("google sheets takes no row: {0}")]
    NoRowTaken(String),
    /// Redis does not let a flush in, or what a sink keeps there cannot be read. Stop.
    #[error("{0}")]
    Redis(String),
    /// A flush has not ended in the time that it was given. What waits is still there.
    #[error(
        "not all rows that are due were written within {0:?}, the others stay in redis; the log says who did not answer, or give it more time"
    )]
    Unflushed(std::time::Duration),
    /// The address of Redis cannot be read. Stop.
    #[error(
        "the address of Redis cannot be used: {0}; write redis://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    RedisAddress(#[source] redis::RedisError),
    /// It would end up in statements. Stop.
    #[error("`{0}` cannot be the name of a schema; use a-z, 0-9 and `_`, not beginning with pg_")]
    Schema(String),
    /// The key of the service account is missing or damaged. Stop.
    #[error(
        "the service account key {path} cannot be used: {source}; name the JSON file that Google gave"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// It would end up in an address. Stop.
    #[error(
        "`{0}` is not the id of a spreadsheet; copy it from the address, between /d/ and /edit"
    )]
    SpreadsheetId(String),
    /// A person or another sink made the tab, and may have content in it. Stop.
    #[error(
        "spreadsheet {spreadsheet} has a tab `{tab}` that this sink has not made; rename that one, or name another tab in the app"
    )]
    TabTaken {
        /// Title of the tab.
        tab: String,
        /// The spreadsheet.
        spreadsheet: String,
    },
    /// A person deleted the tab. Writing it anew might be the last thing that they want. Stop.
    #[error(
        "the tab `{tab}` of spreadsheet {spreadsheet} is gone; bring it back from the version history, or delete the offsets of the consumer group {group} to have every row that kafka still holds written to a new tab"
    )]
    TabGone {
        /// Title of the tab in the app's definition.
        tab: String,
        /// The spreadsheet.
        spreadsheet: String,
        /// The sink's consumer group.
        group: String,
    },
    /// Rows are written by position, so values would stand below the headings of others. Stop.
    #[error(
        "columns of the tab `{tab}` were inserted, moved or deleted: `{heading}` is not where it was written; bring them back into their order, and keep columns of your own in another tab"
    )]
    ColumnsMoved {
        /// Title of the tab in the app's definition.
        tab: String,
        /// A heading that stands elsewhere.
        heading: String,
    },
    /// The spreadsheet is a copy, and so would be the rows. Stop.
    #[error(
        "spreadsheet {spreadsheet} is a copy of {original}; name the original in the app, or delete the copied tab"
    )]
    Copy {
        /// The spreadsheet that the app names.
        spreadsheet: String,
        /// The one that it was copied from.
        original: String,
    },
    /// A full spreadsheet names the one in which the sink went on, and the app does not. Stop.
    #[error(
        "the tab `{tab}` of spreadsheet {spreadsheet} was full and goes on in {next}; name that one in the app too, behind {spreadsheet}"
    )]
    SpreadsheetNotListed {
        /// Title of the tab.
        tab: String,
        /// The full one.
        spreadsheet: String,
        /// Where it goes on.
        next: String,
    },
    /// The marks of a spreadsheet know 128 tabs. Stop.
    #[error(
        "spreadsheet {spreadsheet} holds the tabs of 128 sinks; name another spreadsheet in the app"
    )]
    TooManyTabs {
        /// The spreadsheet.
        spreadsheet: String,
    },
    /// The mark of a tab has been replaced 16 million times. Stop.
    #[error(
        "the tab `{tab}` has had all the writes that can be told apart; name another spreadsheet behind its own in the app, in which the sink goes on"
    )]
    TabUsedUp {
        /// Title of the tab.
        tab: String,
    },
    /// Offsets that the sheet holds are not in Kafka yet: the topic is another one of the same name. Stop.
    #[error(
        "topic {topic} was deleted and made again, so its offsets start over; name a new spreadsheet in the app instead of the present one, to write what it holds"
    )]
    TopicStartedOver {
        /// The topic.
        topic: String,
    },
    /// A dead letter cannot be parked. Stop, or the record would be lost.
    #[error(
        "the dead-letter topic {topic} does not take a record: {source}; raise its max.message.bytes"
    )]
    DeadLetter {
        /// The topic.
        topic: String,
        /// What Kafka says.
        source: producer::Error,
    },
    /// What a sink has written cannot be looked at. Retry.
    #[error("what the sink {sink} has written cannot be read: {why}")]
    Unread {
        /// Consumer group of the sink.
        sink: String,
        /// What the other side says, or that it says nothing.
        why: String,
    },
    /// A person has renamed, moved or removed a heading. Stop.
    #[error(
        "the first row of the tab `{tab}` does not name the column `{column}`; write it back above its column"
    )]
    NoColumn {
        /// Title of the tab.
        tab: String,
        /// The heading that is missing.
        column: &'static str,
    },
    /// What is done with a record cannot be noted. Stop, or nobody would know it after a crash.
    #[error("the journal {topic} does not take an entry: {source}; raise its max.message.bytes")]
    Journal {
        /// The topic.
        topic: String,
        /// What Kafka says.
        source: producer::Error,
    },
    /// An address or a secret of a webhook sink cannot be used. Stop.
    #[error("{0}")]
    Webhook(Box<formline_core::Mistake>),
    /// The receiver of a webhook wants no more calls. Stop.
    #[error(
        "{host} answers 410 Gone to the calls of {sink}, so it wants no more; take the sink out of the app, or start it again when the receiver is back"
    )]
    EndpointGone {
        /// Consumer group of the sink.
        sink: String,
        /// Who is called.
        host: String,
    },
    /// So much was noted about records that are still to come that it cannot be held. Stop, or they would be sent again.
    #[error(
        "the journal {0} knows more than a million records that the consumer group has not passed; kafka has lost the group's offsets: set them to where it was"
    )]
    JournalTooLong(String),
    /// A record cannot be put off. Stop, or it would be lost.
    #[error(
        "the topic {topic} does not take a record that is to wait for its next attempt: {source}; raise its max.message.bytes"
    )]
    Retries {
        /// The topic.
        topic: String,
        /// What Kafka says.
        source: producer::Error,
    },
    /// Kafka cannot be used.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The consumer cannot be used.
    #[error(transparent)]
    Consumer(#[from] consumer::Error),
}
