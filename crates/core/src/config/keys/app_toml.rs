//! The keys of `app.toml`.

use crate::config::{
    format,
    key::{
        ConfigKey, Literal, Section, ValueType, choice, flag, integer, other, table, tables, text,
        texts, url,
    },
};

/// The whole file.
pub mod file {
    use super::*;

    section! {
        "An app: forms, steps and sinks that belong together. Any text may contain `${NAME}` or \
         `${NAME:-default}`, which is replaced by the environment variable.";
        APP = table("app", &super::app::SECTION).required();
        TOPIC = tables("topic", &super::topic::SECTION);
        FORM = tables("form", &super::form::SECTION);
        STEP = tables("step", &super::step::SECTION);
        SINK = tables("sink", &super::sink::SECTION);
    }
}

/// `[app]`.
pub mod app {
    use super::*;

    section! {
        "The app itself.";
        NAME = text("name", "student-data",
            "Name of the app. It is part of every consumer group, changelog and dead-letter topic.")
            .format(&format::NAME).required();
    }
}

/// `[[topic]]`.
pub mod topic {
    use super::*;

    section! {
        "A Kafka topic. Declare the topics that forms write to and those that need another \
         number of partitions or another configuration than the default. The outputs of steps \
         need no declaration.";
        NAME = text("name", "student-data", "Name of the topic.")
            .format(&format::TOPIC).required();
        PARTITIONS = integer("partitions", 6, 1..=10_000,
            "Number of partitions. An existing topic with fewer partitions gets more; one with \
             more is an error.");
        CONFIG = other("config", ValueType::TextMap(None), r#"{ "cleanup.policy" = "compact" }"#,
            "Configuration of the topic when it is created: Kafka properties, with their values as \
             strings.");
    }
}

/// `[[form]]`.
pub mod form {
    use super::*;

    section! {
        "A form: an HTTP endpoint that validates submissions and writes them to a topic. It \
         accepts `POST` on its own path and on `/v1/forms/NAME/submissions`.";
        NAME = text("name", "student-data", "Name of the form, unique among all apps.")
            .format(&format::NAME).required();
        PATH = text("path", "/student-data-form",
            "Path of the form, unique among all apps, with or without a slash at its end. \
             `/openapi.json` and everything below `/v1` are reserved.")
            .format(&format::PATH).required();
        TOPIC = text("topic", "student-data", "The topic that accepted submissions are written to.")
            .format(&format::TOPIC).required();
        SCHEMA = text("schema", "student-data.schema.json",
            "File with the JSON Schema (2020-12) of a submission, in the folder of the app. A \
             `$ref` to another file or address is rejected.")
            .required();
        KEY = text("key", "roll",
            "The field whose value becomes the key of the Kafka record: its name, or a JSON \
             pointer. Without it, the key is the id of the submission.");
        HONEYPOT = text("honeypot", "website",
            "A field that people do not see. A submission that fills it in is from a robot: it \
             receives the response of a success and is dropped.");
        REDIRECT = texts("redirect", 0..=usize::MAX, &["https://example.org/thanks"],
            "Addresses that a browser may be redirected to after a submission. The first one is \
             the default.")
            .format(&format::WEB_ADDRESS);
        ORIGINS = texts("origins", 0..=usize::MAX, &["https://example.org"],
            "Origins whose pages may submit the form (CORS).")
            .format(&format::WEB_ADDRESS);
        SANITIZE = table("sanitize", &super::sanitize::SECTION);
        RATE_LIMIT = table("rate_limit", &super::rate_limit::SECTION);
    }
}

/// `[form.sanitize]`.
pub mod sanitize {
    use super::*;

    section! {
        "How texts of a submission are cleaned before they are validated. HTML and spreadsheet \
         formulas are kept: each output escapes them.";
        TRIM = flag("trim", true, "Remove white space at both ends of a text.");
        NFC = flag("nfc", true,
            "Convert texts to the composed form of Unicode (NFC), so that equal texts have equal \
             bytes.");
        DROP_CONTROL = flag("drop_control", true,
            "Remove control characters except line feed, carriage return and tab.");
        MAX_LENGTH = integer("max_length", 50_000, 1..=1_000_000,
            "Maximum length of a text in characters. A longer one is rejected. The default fits \
             into a cell of a Google Sheet.");
    }
}

/// `[form.rate_limit]`.
pub mod rate_limit {
    use super::*;

    section! {
        "How many submissions each ingest process accepts. Above a limit, the response is 429. 0 \
         means no limit.";
        CLIENT_PER_MINUTE = integer("client_per_minute", 0, 0..=1_000_000,
            "Submissions from one client address in a minute.")
            .example(Literal::Integer(60));
        FORM_PER_SECOND = integer("form_per_second", 0, 0..=1_000_000,
            "Submissions from all clients together in a second.")
            .example(Literal::Integer(500));
    }
}

/// `[[step]]`.
pub mod step {
    use super::*;

    section! {
        "A step: a plug-in with its configuration between topics. Each step is a consumer group.";
        NAME = text("name", "rows",
            "Name of the step, unique among the steps and sinks of the app.")
            .format(&format::NAME).required();
        PLUGIN = text("plugin", "rows",
            "The plug-in: `name` (the newest version), `name@version` or `sha256:…`.")
            .required();
        INPUT = other("input", ValueType::TextLists(Some(&format::TOPIC)),
            r#"{ submissions = ["student-data"] }"#,
            "The topics of each input port of the plug-in. A single topic needs no brackets.");
        OUTPUT = other("output", ValueType::TextMap(Some(&format::TOPIC)),
            r#"{ rows = "student-data.rows" }"#,
            "The topic of each output port of the plug-in.");
        CONFIG = other("config", ValueType::Json, r#"{ columns = ["roll", "name"] }"#,
            "Configuration of the plug-in, usually a table. It is validated with the JSON Schema \
             of the plug-in, which `formline plugin inspect` prints.");
        WORKERS = integer("workers", 1, 1..=64,
            "Threads of this process that work on the step. Further processes join the same \
             group.");
        LIMITS = table("limits", &super::limits::SECTION);
    }
}

/// `[step.limits]`.
pub mod limits {
    use super::*;

    section! {
        "What an instance of the plug-in may use.";
        MEMORY_MIB = integer("memory_mib", 64, 1..=4096,
            "Linear memory in MiB. Above it, the call fails.");
        EVENT_MS = integer("event_ms", 500, 1..=60_000,
            "Time for one event, in milliseconds. Above it, the call fails.");
        BATCH_MS = integer("batch_ms", 5_000, 10..=60_000,
            "Time for one batch, in milliseconds. At the limit, the batch ends early and its \
             results so far are committed.");
        STATE_MIB = integer("state_mib", 1024, 1..=1_048_576,
            "Size of the keys and values that the stores may hold for each partition, in MiB. At \
             the limit, `put` fails.");
    }
}

/// `[[sink]]`.
pub mod sink {
    use super::*;

    /// A tab of a Google Sheet.
    pub const SHEETS: &str = "sheets";
    /// Tables in PostgreSQL.
    pub const POSTGRES: &str = "postgres";
    /// E-mails.
    pub const EMAIL: &str = "email";
    /// HTTP calls.
    pub const WEBHOOK: &str = "webhook";

    /// Each kind of sink and what it does.
    pub static KINDS: [(&str, &str); 4] = [
        (
            SHEETS,
            "Writes rows to a tab of a Google Sheet, each row exactly once and in the order \
            of acceptance. It reads the output of a step with the plug-in `rows`.",
        ),
        (
            POSTGRES,
            "Stores each event once in the table `responses` of a PostgreSQL schema. The \
            address of the database is the setting `postgres_url`.",
        ),
        (
            EMAIL,
            "Sends an e-mail for each event, at least once and at most twice. The mail server \
            is the setting `smtp.url`.",
        ),
        (
            WEBHOOK,
            "Calls an HTTP address for each event, at least once, as specified by Standard \
            Webhooks.",
        ),
    ];

    section! {
        "A sink: a consumer group whose effect leaves Kafka. `kind` decides which other keys it \
         has. Only `postgres` sinks may read the topic of a form; the others read what a step \
         writes.";
        NAME = text("name", "responses",
            "Name of the sink, unique among the steps and sinks of the app.")
            .format(&format::NAME).required();
        KIND = choice("kind", &[SHEETS, POSTGRES, EMAIL, WEBHOOK], "What the sink writes to.")
            .required();
        INPUT = texts("input", 1..=usize::MAX, &["student-data.rows"],
            "The topics that it reads.")
            .format(&format::TOPIC).required();

        SPREADSHEET = texts("spreadsheet", 1..=usize::MAX, &["${STUDENT_SHEET_ID:-student-data}"],
            "Id of the spreadsheet, from its address between `/d/` and `/edit`. In an array, each \
             following spreadsheet is used when the one before is full.")
            .format(&format::SPREADSHEET).required().of(&[SHEETS]);
        TAB = text("tab", "Responses",
            "Title of the tab. It is created if it is missing.")
            .format(&format::TAB).required().of(&[SHEETS]);
        GRACE_MS = integer("grace_ms", 750, 0..=60_000,
            "How long it may take to accept a submission until it is in Kafka without losing its \
             position in the order of rows, in milliseconds.")
            .of(&[SHEETS]);
        HOLD_BACK_MS = integer("hold_back_ms", 60_000, 1_000..=86_400_000,
            "How long a row waits at most for submissions that were accepted earlier and are \
             still being processed, in milliseconds. A row that arrives later still is appended \
             and flagged as late.")
            .of(&[SHEETS]);
        FLUSH_INTERVAL_MS = integer("flush_interval_ms", 1_000, 100..=86_400_000,
            "Minimum time between two writes, in milliseconds. Google counts 60 writes per minute \
             and user.")
            .of(&[SHEETS]);
        BUFFER = choice("buffer", &[MEMORY, REDIS],
            "Where rows wait until they are written. With `redis` (the setting `redis`), each \
             process can write them. A lost buffer is read from Kafka again.")
            .of(&[SHEETS]);
        FLUSH = choice("flush", &[INTERVAL, JOB],
            "Who writes rows that wait in Redis: the sink itself at each `flush_interval_ms`, or \
             only `formline flush`, as a scheduled job. `job` needs `buffer = \"redis\"`.")
            .of(&[SHEETS]);
        BUFFER_ROWS = integer("buffer_rows", 100_000, 1_000..=1_000_000,
            "Maximum number of rows that wait in Redis. At the limit, the sink stops reading, and \
             rows are written although an earlier one may still arrive.")
            .of(&[SHEETS]);

        SCHEMA = text("schema", "formline",
            "The PostgreSQL schema of the tables. It is created if it is missing. Several sinks \
             may share one.")
            .format(&format::POSTGRES_SCHEMA).default(Literal::Text("formline")).of(&[POSTGRES]);

        BATCH_ROWS = integer("batch_rows", 1_000, 1..=10_000,
            "Maximum number of rows in one write or transaction.")
            .of(&[SHEETS, POSTGRES]);

        TO = text("to", "email",
            "The field that contains the address of the recipient: its name, or a JSON pointer.")
            .required().of(&[EMAIL]);
        FROM = text("from", "Student office <office@example.org>",
            "The sender: `Name <address>`, or an address alone.")
            .required().of(&[EMAIL]);
        REPLY_TO = text("reply_to", "help@example.org",
            "The address for replies. Default: the sender.")
            .of(&[EMAIL]);
        SUBJECT = text("subject", "We have received your data, {{ name }}",
            "Template of the subject (minijinja).")
            .required().of(&[EMAIL]);
        TEMPLATE = text("template", "thanks",
            "Name of the template of the body: `NAME.txt`, `NAME.html` or both, in the folder of \
             the app.")
            .format(&format::NAME).required().of(&[EMAIL]);
        PER_ADDRESS = integer("per_address", 3, 1..=1_000,
            "Maximum number of mails to one address in an hour. Further ones become dead letters.")
            .of(&[EMAIL]);
        PER_FORM = integer("per_form", 1_000, 1..=100_000,
            "Maximum number of mails for one form in an hour. Further ones become dead letters.")
            .of(&[EMAIL]);
        EMAIL_SCHEDULE = texts("schedule", 1..=MAX_DELAYS, &["5m", "1h", "24h"], SCHEDULE)
            .format(&format::DELAY).default(Literal::Texts(MAIL_DELAYS)).of(&[EMAIL]);

        URL = url("url", &format::WEBHOOK_URL,
            "https://crm.example.org/hooks/students",
            "The address to call. `http://` is allowed only in the networks of the setting \
             `webhook_private_addresses`.")
            .required().of(&[WEBHOOK]);
        SECRET = texts("secret", 1..=usize::MAX,
            &["${CRM_SECRET:-whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxl}"],
            "Secret that signs the calls: `whsec_` and base64. In an array, each call is signed \
             with all of them, so that one can be replaced.")
            .required().of(&[WEBHOOK]);
        TIMEOUT_MS = integer("timeout_ms", 15_000, 100..=60_000,
            "How long a response may take, in milliseconds.")
            .of(&[WEBHOOK]);
        IN_FLIGHT = integer("in_flight", 8, 1..=100,
            "Calls in progress at one time for each partition.")
            .of(&[WEBHOOK]);
        WEBHOOK_SCHEDULE = texts("schedule", 1..=MAX_DELAYS, &["5s", "10m", "24h"], SCHEDULE)
            .format(&format::DELAY).default(Literal::Texts(CALL_DELAYS)).of(&[WEBHOOK]);
    }

    /// A buffer in the memory of the sink.
    pub(crate) const MEMORY: &str = "memory";
    /// A buffer in Redis.
    pub(crate) const REDIS: &str = "redis";
    /// The sink writes rows itself.
    pub(crate) const INTERVAL: &str = "interval";
    /// `formline flush` writes rows.
    pub(crate) const JOB: &str = "job";

    /// The topic of retries has a partition for each delay that a schedule could have: Kafka cannot
    /// remove partitions when a schedule becomes shorter.
    pub(crate) const MAX_DELAYS: usize = 20;

    const SCHEDULE: &str = "The delay after each failed attempt, at most 20 and none shorter than \
        the one before. After the last one, the record becomes a dead letter.";

    /// About two days, until a mailbox has room again or a greylist lets us pass. A mail server
    /// that cannot reach the recipient's retries by itself.
    const MAIL_DELAYS: &[&str] = &["5m", "15m", "30m", "1h", "2h", "6h", "12h", "24h"];

    /// The example schedule of Standard Webhooks 1.0.0, after an immediate first call.
    const CALL_DELAYS: &[&str] = &["5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"];
}
