//! Why a sink stops. Temporary problems are not listed here, because sinks retry until they are
//! gone.

use std::path::PathBuf;

use formline_core::kafka::{client::ClientError, consumer::ConsumerError, producer::ProducerError};

/// Why a sink stops. Its records wait in Kafka, and other sinks continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No Google credentials are configured. Stop.
    #[error(
        "no Google credentials; set GOOGLE_APPLICATION_CREDENTIALS, or write to an emulator with --sheets HOST:PORT"
    )]
    NoGoogle,
    /// No PostgreSQL server is configured. Stop.
    #[error(
        "sink {0} writes to PostgreSQL; set FORMLINE_POSTGRES_URL to postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    NoPostgres(String),
    /// The address of the database is invalid. Stop.
    #[error(
        "the address of PostgreSQL cannot be used: {0}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    PostgresUrl(#[source] sqlx::Error),
    /// No SMTP server is configured. Stop.
    #[error("sink {0} sends e-mails; set FORMLINE_SMTP_URL to smtps://USER:PASSWORD@HOST:PORT")]
    NoSmtp(String),
    /// The address of the SMTP server is invalid. Stop.
    #[error(
        "the address of the SMTP server cannot be used: {0}; write smtps://USER:PASSWORD@HOST:PORT, or smtp://… for STARTTLS"
    )]
    SmtpUrl(String),
    /// An address or a template of an email sink cannot be used. Stop.
    #[error("{0}")]
    Email(Box<formline_core::Diagnostic>),
    /// No Redis is configured. Stop.
    #[error(
        "sink {0} buffers in Redis; set FORMLINE_REDIS_URL to redis://HOST:PORT, or FORMLINE_REDIS_SENTINELS and FORMLINE_REDIS_MASTER"
    )]
    NoRedis(String),
    /// A flush writes only rows that wait in Redis. Stop.
    #[error(
        "sink {0} keeps no rows in Redis; write kind = \"sheets\" and buffer = \"redis\" in the app, or do not flush this sink"
    )]
    NothingToFlush(String),
    /// Google rejects every row. The waiting rows remain in Redis.
    #[error("google sheets accepts no row: {0}")]
    NoRowTaken(String),
    /// Redis denies access to a flush, or the data of a sink in Redis cannot be read. Stop.
    #[error("{0}")]
    Redis(String),
    /// A flush has not ended within its time limit. The remaining rows stay in Redis.
    #[error(
        "not all due rows were written within {0:?}; the rest stays in redis: see the log for the service that did not respond, or raise --timeout"
    )]
    Unflushed(std::time::Duration),
    /// The address of Redis is invalid. Stop.
    #[error(
        "the address of Redis cannot be used: {0}; write redis://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    RedisAddress(#[source] redis::RedisError),
    /// The name would be inserted into SQL statements. Stop.
    #[error(
        "`{0}` cannot be the name of a schema; use a-z, 0-9 and `_`, and do not begin with pg_"
    )]
    Schema(String),
    /// The key of the service account is missing or damaged. Stop.
    #[error(
        "the service account key {path} cannot be used: {source}; use the JSON key file from the Google console"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: std::io::Error,
    },
    /// The id would be inserted into a URL. Stop.
    #[error("`{0}` is not the id of a spreadsheet; copy it from the URL, between /d/ and /edit")]
    SpreadsheetId(String),
    /// A user or another sink created the tab, and it can contain their data. Stop.
    #[error(
        "spreadsheet {spreadsheet} has a tab `{tab}` that this sink has not created; rename that tab, or name another tab in the app"
    )]
    TabTaken {
        /// Title of the tab.
        tab: String,
        /// The spreadsheet.
        spreadsheet: String,
    },
    /// A user deleted the tab, perhaps on purpose, so the sink does not create it again. Stop.
    #[error(
        "the tab `{tab}` of spreadsheet {spreadsheet} is gone; restore it from the version history, or delete the offsets of the consumer group {group} to write every row that kafka still holds to a new tab"
    )]
    TabGone {
        /// Title of the tab in the app's definition.
        tab: String,
        /// The spreadsheet.
        spreadsheet: String,
        /// The sink's consumer group.
        group: String,
    },
    /// Rows are written by column position, so values would appear below the wrong headings. Stop.
    #[error(
        "columns of the tab `{tab}` were inserted, moved or deleted: `{heading}` is not where it was written; restore their order, and keep your own columns in another tab"
    )]
    ColumnsMoved {
        /// Title of the tab in the app's definition.
        tab: String,
        /// A heading that is in another column.
        heading: String,
    },
    /// The spreadsheet is a copy, so rows would be written twice. Stop.
    #[error(
        "spreadsheet {spreadsheet} is a copy of {original}; name the original in the app, or delete the copied tab"
    )]
    Copy {
        /// The spreadsheet that the app names.
        spreadsheet: String,
        /// The spreadsheet that it was copied from.
        original: String,
    },
    /// A full spreadsheet names its continuation, and the app does not list that one. Stop.
    #[error(
        "the tab `{tab}` of spreadsheet {spreadsheet} is full and continues in spreadsheet {next}; add {next} to the list in the app, behind {spreadsheet}"
    )]
    SpreadsheetNotListed {
        /// Title of the tab.
        tab: String,
        /// The full spreadsheet.
        spreadsheet: String,
        /// The spreadsheet that continues it.
        next: String,
    },
    /// The checkpoints of a spreadsheet can distinguish 128 tabs. Stop.
    #[error(
        "spreadsheet {spreadsheet} contains the tabs of 128 sinks, which is the limit; name another spreadsheet in the app"
    )]
    TooManyTabs {
        /// The spreadsheet.
        spreadsheet: String,
    },
    /// The checkpoint of a tab has been replaced 16 million times, which is the limit. Stop.
    #[error(
        "the tab `{tab}` has reached the limit of 16 million writes; name another spreadsheet behind its own in the app, in which the sink continues"
    )]
    TabUsedUp {
        /// Title of the tab.
        tab: String,
    },
    /// The sheet contains offsets that Kafka has not reached: the topic is another one of the same
    /// name. Stop.
    #[error(
        "topic {topic} was deleted and created again, so its offsets start over; to write its records, name a new spreadsheet in the app instead of the present one"
    )]
    TopicStartedOver {
        /// The topic.
        topic: String,
    },
    /// A dead letter cannot be written. Stop, or the record would be lost.
    #[error(
        "the dead-letter topic {topic} does not accept a record: {source}; raise its max.message.bytes"
    )]
    DeadLetter {
        /// The topic.
        topic: String,
        /// The error of Kafka.
        source: ProducerError,
    },
    /// The rows or the journal of a sink cannot be read. Retry.
    #[error("the output of the sink {sink} cannot be read: {why}")]
    Unread {
        /// Consumer group of the sink.
        sink: String,
        /// The error of the other side, or that it does not respond.
        why: String,
    },
    /// A user has renamed, moved or removed a heading. Stop.
    #[error(
        "the first row of the tab `{tab}` does not contain the heading `{column}`; restore it above its column"
    )]
    NoColumn {
        /// Title of the tab.
        tab: String,
        /// The heading that is missing.
        column: &'static str,
    },
    /// An entry of the journal cannot be written. Stop, or the outcome would be lost with a crash.
    #[error("the journal {topic} does not accept an entry: {source}; raise its max.message.bytes")]
    Journal {
        /// The topic.
        topic: String,
        /// The error of Kafka.
        source: ProducerError,
    },
    /// An address or a secret of a webhook sink cannot be used. Stop.
    #[error("{0}")]
    Webhook(Box<formline_core::Diagnostic>),
    /// The receiver of a webhook wants no more calls. Stop.
    #[error(
        "{host} answers 410 Gone to the calls of {sink}; remove the sink from the app, or restart it when the receiver accepts calls again"
    )]
    EndpointGone {
        /// Consumer group of the sink.
        sink: String,
        /// The receiver.
        host: String,
    },
    /// The journal has more entries about records beyond the committed offsets than fit into
    /// memory. Stop, or effects would be repeated.
    #[error(
        "the journal {0} has entries about more than a million records that the consumer group has not passed; kafka has lost the offsets of the group: set them to where it was"
    )]
    JournalTooLong(String),
    /// A record cannot be deferred. Stop, or it would be lost.
    #[error(
        "the retries topic {topic} does not accept a record: {source}; raise its max.message.bytes"
    )]
    Retries {
        /// The topic.
        topic: String,
        /// The error of Kafka.
        source: ProducerError,
    },
    /// Kafka cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The consumer cannot be used.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
}
