//! A sink: a consumer group whose effect leaves Kafka.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Location, Webhook,
    index::{Kind, Part, check_topics},
    schedule::{self, MAX_DELAYS},
};
use crate::config::SectionReader;
use crate::{
    config::nearest,
    kafka::client,
    kafka::topic::{self, DEFAULT_PARTITIONS, Topic},
};

/// One way out.
#[derive(Debug)]
pub struct Sink {
    /// App that declares it.
    pub app: String,
    /// Its name.
    pub name: String,
    /// Input topics.
    pub input: Vec<String>,
    /// What it writes to.
    pub kind: SinkKind,
    /// Where it is declared.
    pub location: Location,
}

/// What a sink writes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SinkKind {
    /// A tab of a Google Sheet.
    Sheets(Sheets),
    /// Tables in PostgreSQL.
    Postgres(Postgres),
    /// An e-mail to the address that the form names.
    Email(Email),
    /// A call of somebody else's HTTP address.
    Webhook(Webhook),
}

/// Settings of a sheets sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sheets {
    /// Id of the spreadsheet, as in its address.
    pub spreadsheet: String,
    /// Those in which the sink goes on, one after another, when it is full.
    pub further: Vec<String>,
    /// Title of the tab; it is created if it is missing.
    pub tab: String,
    /// How long accepting a submission may take until it is in Kafka without losing its place in the order.
    pub grace: Duration,
    /// Rows are held back for those that were accepted earlier and are still under way, at most for this time.
    /// What comes later still is appended and flagged late.
    pub hold_back: Duration,
    /// Shortest time between two writes.
    pub flush_interval: Duration,
    /// Most rows of one write.
    pub batch_rows: usize,
    /// Where rows wait for their turn.
    pub buffer: Buffer,
}

/// Where the rows of a sheets sink wait for their turn. It is rebuilt from Kafka whenever it is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Buffer {
    /// In the sink's own memory.
    Memory,
    /// In the Redis of the installation (`Settings::redis`), where every process can flush them.
    Redis {
        /// Whether the sink flushes them itself, every `flush_interval`. If not, `formline flush` does.
        flushes: bool,
        /// Most rows that wait. At the bound the sink stops reading, and rows are written although an earlier one may
        /// still come.
        rows: usize,
    },
}

/// Settings of a PostgreSQL sink. Where the database is belongs to the installation (`Settings::postgres_url`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Postgres {
    /// The schema that its tables lie in; it is created if it is missing. Several sinks may share one.
    pub schema: String,
    /// Most rows of one transaction.
    pub batch_rows: usize,
}

/// Settings of an e-mail sink. Where the server is belongs to the installation (`Settings::smtp`); whether addresses and
/// templates are right is the sink's business.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email {
    /// The field that holds the address of the recipient, or a JSON pointer to it.
    pub to: String,
    /// The sender, `Name <address>` or an address alone.
    pub from: String,
    /// Where answers go, if not to the sender.
    pub reply_to: Option<String>,
    /// Template of the subject.
    pub subject: String,
    /// Name of the template: `NAME.txt`, `NAME.html` or both, in the app's folder.
    pub template: String,
    /// Most mails to one address in an hour.
    pub per_address: usize,
    /// Most mails for one form in an hour.
    pub per_form: usize,
    /// How long to wait each time the server puts a mail off. After the last delay it is a dead letter.
    pub schedule: Vec<Duration>,
}

/// Reads the settings of one kind.
type Read = fn(&mut SectionReader<'_>) -> SinkKind;

/// Every kind by its name in an app's file.
const KINDS: &[(&str, Read)] = &[
    ("sheets", Sheets::read),
    ("postgres", Postgres::read),
    ("email", Email::read),
    ("webhook", Webhook::read),
];

/// 21 days: a delay may have seven, and a record that Kafka deletes while it waits is lost, also one that waits while the
/// sink is switched off.
const RETRIES_KEPT: &str = "1814400000";

/// 30 days, as dead letters: so far back `formline verify` can say what became of a submission, and longer than any
/// record waits for its next attempt.
const JOURNAL_KEPT: &str = "2592000000";

/// Until a mailbox has room again or a greylist lets us pass, about two days: whom our server cannot reach it tries for
/// itself.
const MAIL_SCHEDULE: [u64; 8] = [300, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];

/// Google refuses a longer title.
const MAX_TAB_CHARACTERS: usize = 100;

// === impl Sink ===

impl Sink {
    /// The sink as the others see it, and itself if its kind is known.
    pub(super) fn read(section: &mut SectionReader<'_>, app: &str) -> (Part, Option<Self>) {
        let name = section.required_name("name");
        let input = Self::read_input(section);
        let location = section.location();
        let kind = Self::read_kind(section);
        let part = Part {
            kind: Kind::Sink {
                targets: kind.as_ref().map(SinkKind::targets).unwrap_or_default(),
                drops_repetitions: kind.as_ref().is_some_and(SinkKind::drops_repetitions),
            },
            name: name.clone(),
            reads: input.clone(),
            writes: Vec::new(),
            location: location.clone(),
        };
        let sink = kind.map(|kind| Self {
            app: app.to_owned(),
            name,
            input,
            kind,
            location,
        });
        (part, sink)
    }

    fn read_input(section: &mut SectionReader<'_>) -> Vec<String> {
        let mut input = section.texts("input");
        section.require("input", "add input = [\"a-topic\"]".to_owned());
        check_topics(section, "input", &input);
        if input.is_empty() {
            if !section.is_unread("input") {
                let remedy = "write input = [\"a-topic\"]";
                section.mistake("input", "the sink reads nothing", remedy);
            }
            input.push(String::new());
        }
        input
    }

    fn read_kind(section: &mut SectionReader<'_>) -> Option<SinkKind> {
        let kind = section.required_text("kind");
        if let Some((_, read)) = KINDS.iter().find(|(name, _)| *name == kind) {
            return Some(read(section));
        }
        // Which keys it may have is the kind's business.
        section.leave_open();
        if !kind.is_empty() {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            let remedy = match nearest(&kind, names.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the kinds are: {}", names.join(", ")),
            };
            let problem = format!("there is no sink of kind `{kind}`");
            section.mistake("kind", &problem, &remedy);
        }
        None
    }

    /// Its consumer group.
    pub fn group(&self) -> String {
        topic::group(&self.app, &self.name)
    }

    /// Its dead-letter topic.
    pub fn dead_letter_topic(&self) -> String {
        topic::dead_letter(&self.app, &self.name)
    }

    /// The topic where it notes what it has done with each record.
    pub fn journal_topic(&self) -> String {
        topic::journal(&self.app, &self.name)
    }

    /// The topic where records wait for their next attempt, if its kind puts them off.
    pub fn retries_topic(&self) -> Option<String> {
        let puts_off = !self.kind.schedule().is_empty();
        puts_off.then(|| topic::retries(&self.app, &self.name))
    }

    /// Every topic that its consumer group reads.
    pub fn topics(&self) -> Vec<String> {
        let input = self.input.iter().cloned();
        input.chain(self.retries_topic()).collect()
    }

    /// The topics that only it writes and reads, beside dead letters.
    pub(super) fn own_topics(&self, known: &[Topic]) -> Vec<Topic> {
        let retries = self.retries();
        let journal = self.journal(known, retries.as_ref());
        retries.into_iter().chain(journal).collect()
    }

    /// In each partition lies what waits for one delay.
    fn retries(&self) -> Option<Topic> {
        let config = [
            ("cleanup.policy", "delete"),
            ("retention.ms", RETRIES_KEPT),
            ("max.message.bytes", client::RECORD_BYTES),
        ];
        Some(Topic {
            name: self.retries_topic()?,
            partitions: i32::try_from(MAX_DELAYS).unwrap_or(DEFAULT_PARTITIONS),
            config: owned(config),
        })
    }

    /// Its journal, if its kind keeps one: as many partitions as what it reads at most has, since an entry lies in the
    /// partition of the same number as its record.
    fn journal(&self, known: &[Topic], retries: Option<&Topic>) -> Option<Topic> {
        if !self.kind.keeps_journal() {
            return None;
        }
        let inputs = known
            .iter()
            .filter(|topic| self.input.contains(&topic.name));
        let read = inputs.chain(retries).map(|topic| topic.partitions);
        let config = [("cleanup.policy", "delete"), ("retention.ms", JOURNAL_KEPT)];
        Some(Topic {
            name: self.journal_topic(),
            partitions: read.max().unwrap_or(DEFAULT_PARTITIONS),
            config: owned(config),
        })
    }
}

// === impl SinkKind ===

impl SinkKind {
    /// What no other sink may write to, in words. Sinks that share a PostgreSQL schema do not disturb each other.
    fn targets(&self) -> Vec<String> {
        match self {
            Self::Sheets(sheets) => sheets.targets(),
            Self::Postgres(_) | Self::Email(_) | Self::Webhook(_) => Vec::new(),
        }
    }

    /// Whether it notes what it does, because nobody can look at its effect afterwards.
    fn keeps_journal(&self) -> bool {
        match self {
            Self::Email(_) | Self::Webhook(_) => true,
            Self::Sheets(_) | Self::Postgres(_) => false,
        }
    }

    /// How long it waits after each attempt that has failed; empty if it makes all attempts in place.
    pub fn schedule(&self) -> Vec<Duration> {
        match self {
            Self::Email(email) => email.schedule.clone(),
            Self::Webhook(webhook) => webhook.schedule.clone(),
            Self::Sheets(_) | Self::Postgres(_) => Vec::new(),
        }
    }

    /// Whether it may read what a form writes, where a submission can stand twice: PostgreSQL itself knows whether it
    /// holds an id already.
    fn drops_repetitions(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

// === impl Sheets ===

impl Sheets {
    fn read(section: &mut SectionReader<'_>) -> SinkKind {
        let milliseconds = |count: u32| Duration::from_millis(count.into());
        let (spreadsheet, further) = Self::read_spreadsheets(section);
        SinkKind::Sheets(Self {
            spreadsheet,
            further,
            tab: Self::read_tab(section),
            grace: milliseconds(section.count("grace_ms", 750, 0..=60_000)),
            hold_back: milliseconds(section.count("hold_back_ms", 60_000, 1_000..=86_400_000)),
            // Google counts 60 writes a minute and user: one a second is what one sink may use.
            flush_interval: milliseconds(section.count(
                "flush_interval_ms",
                1_000,
                100..=86_400_000,
            )),
            batch_rows: section.size("batch_rows", 1_000, 1..=10_000),
            buffer: Buffer::read(section),
        })
    }

    /// The first, and those behind it. One may be written without brackets.
    fn read_spreadsheets(section: &mut SectionReader<'_>) -> (String, Vec<String>) {
        let mut ids = section.required_texts("spreadsheet");
        for (index, id) in ids.iter().enumerate().filter(|(_, id)| !id.is_empty()) {
            if !is_spreadsheet_id(id) {
                section.mistake(
                    "spreadsheet",
                    &format!("`{id}` is not the id of a spreadsheet"),
                    "copy it from the spreadsheet's address, between /d/ and /edit",
                );
            } else if ids[..index].contains(id) {
                section.mistake(
                    "spreadsheet",
                    &format!("`{id}` stands in the list twice"),
                    "name each spreadsheet once, in the order in which they are to be filled",
                );
            }
        }
        let first = if ids.is_empty() {
            String::new()
        } else {
            ids.remove(0)
        };
        (first, ids)
    }

    /// Every tab that it may write to.
    fn targets(&self) -> Vec<String> {
        let named = |text: &&String| !text.is_empty();
        let spreadsheets = std::iter::once(&self.spreadsheet).chain(&self.further);
        let tab = Some(&self.tab).filter(named);
        let target = |tab: &String| {
            let of = |id: &String| format!("a sink for tab `{tab}` of spreadsheet `{id}`");
            spreadsheets.filter(named).map(of).collect()
        };
        tab.map(target).unwrap_or_default()
    }

    fn read_tab(section: &mut SectionReader<'_>) -> String {
        let title = section.required_text("tab");
        let length = title.chars().count();
        if length > MAX_TAB_CHARACTERS {
            section.mistake(
                "tab",
                &format!("the title of the tab has {length} characters"),
                &format!("write at most {MAX_TAB_CHARACTERS}, which is Google's limit"),
            );
        }
        title
    }
}

// === impl Buffer ===

impl Buffer {
    fn read(section: &mut SectionReader<'_>) -> Self {
        let buffer = one_of(section, "buffer", &["memory", "redis"]);
        let flush = one_of(section, "flush", &["interval", "job"]);
        let rows = section.size("buffer_rows", 100_000, 1_000..=1_000_000);
        if buffer == "redis" {
            let flushes = flush == "interval";
            return Self::Redis { flushes, rows };
        }
        if flush == "job" {
            let remedy = "write buffer = \"redis\", where `formline flush` finds the rows";
            section.mistake("flush", "a job cannot see the memory of a sink", remedy);
        }
        Self::Memory
    }
}

fn owned<const N: usize>(config: [(&str, &str); N]) -> BTreeMap<String, String> {
    let owned = config.map(|(name, value)| (name.to_owned(), value.to_owned()));
    owned.into()
}

/// One of these words; the first if none is written.
fn one_of(
    section: &mut SectionReader<'_>,
    key: &'static str,
    words: &[&'static str],
) -> &'static str {
    let Some(written) = section.text(key) else {
        return words[0];
    };
    let found = words.iter().find(|word| **word == written);
    found.copied().unwrap_or_else(|| {
        let problem = format!("`{written}` is not known");
        section.mistake(key, &problem, &format!("write {}", words.join(" or ")));
        words[0]
    })
}

// === impl Postgres ===

impl Postgres {
    fn read(section: &mut SectionReader<'_>) -> SinkKind {
        let written = section.text("schema");
        let schema = written.unwrap_or_else(|| "formline".to_owned());
        if !is_postgres_schema(&schema) {
            section.mistake(
                "schema",
                &format!("`{schema}` cannot be the name of the sink's schema"),
                "use at most 63 of a-z, 0-9 and `_`, not beginning with a digit or pg_",
            );
        }
        SinkKind::Postgres(Self {
            schema,
            batch_rows: section.size("batch_rows", 1_000, 1..=10_000),
        })
    }
}

// === impl Email ===

impl Email {
    fn read(section: &mut SectionReader<'_>) -> SinkKind {
        SinkKind::Email(Self {
            to: section.required_text("to"),
            from: section.required_text("from"),
            reply_to: section.text("reply_to"),
            subject: section.required_text("subject"),
            // A name and no path: it must not lead out of the app's folder.
            template: section.required_name("template"),
            per_address: section.size("per_address", 3, 1..=1_000),
            per_form: section.size("per_form", 1_000, 1..=100_000),
            schedule: schedule::read(section, &MAIL_SCHEDULE),
        })
    }
}

/// Whether this can be the name of a schema, written without quotes: it gets into statements and connection options.
/// PostgreSQL keeps names that begin with `pg_` for itself and cuts those of more than 63 bytes.
pub fn is_postgres_schema(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.len() <= 63
        && name.bytes().all(legal)
        && !name.starts_with("pg_")
}

/// Whether this can be the id of a spreadsheet: letters, digits, `-` and `_`, at most 100. Google's have 44. Others
/// must not get into an address.
pub fn is_spreadsheet_id(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !id.is_empty() && id.len() <= 100 && id.bytes().all(legal)
}
