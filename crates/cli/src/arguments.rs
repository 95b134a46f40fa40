//! What can be typed. A flag is declared once, in the group that it belongs to, and means the same in every command.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    str::FromStr,
};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use formline_core::{letter::LetterId, telemetry};

use crate::moment::Moment;

/// A production line for form submissions: validated, kept in Kafka, worked on by WebAssembly plug-ins, delivered to a
/// sheet. What was answered with 2xx is never lost and never has its effect twice.
#[derive(Debug, Parser)]
#[command(
    name = "formline",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// How logs are written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "FORMLINE_LOG_FORMAT"
    )]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process: ingest, all steps, all sinks, and a sheets emulator without Google credentials
    Up(Up),
    /// Run the HTTP service: forms into Kafka
    Ingest(Ingest),
    /// Run steps: topics through plug-ins into topics
    Process(Process),
    /// Run sinks: topics into the outside world
    Sink(Sink),
    /// Run the server that stands in for Google Sheets, without Kafka
    SheetsEmulator(SheetsEmulator),
    /// Check apps and settings, and say every mistake at once
    Check(Check),
    /// Work with the topics that the apps declare
    #[command(subcommand)]
    Topics(Topics),
    /// Write plug-ins, and look at those that are there
    #[command(subcommand)]
    Plugin(Plugin),
    /// Follow the records of a topic
    Tap(Tap),
    /// Find a submission in every topic, and say which sinks have passed it
    Trace(Trace),
    /// Work with dead letters: records that a step or sink gave up on
    #[command(subcommand)]
    Dlq(Dlq),
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Which apps run, and where the installation's settings and data lie.
#[derive(Args, Debug)]
pub(crate) struct Apps {
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
}

/// Which apps.
#[derive(Args, Debug)]
pub(crate) struct Folders {
    /// Folder of an app; repeatable [default: every folder of ./apps]
    #[arg(long = "app", value_name = "DIR")]
    pub(crate) apps: Vec<PathBuf>,
}

/// Which steps.
#[derive(Args, Debug, Default)]
pub(crate) struct Steps {
    /// Only this step, as NAME or APP/NAME; repeatable
    #[arg(long = "step", value_name = "NAME")]
    pub(crate) steps: Vec<String>,
}

/// Which sinks.
#[derive(Args, Debug, Default)]
pub(crate) struct Sinks {
    /// Only this sink, as NAME or APP/NAME; repeatable
    #[arg(long = "sink", value_name = "NAME")]
    pub(crate) sinks: Vec<String>,
}

/// Where plug-ins lie.
#[derive(Args, Debug)]
pub(crate) struct PluginFolder {
    /// Folder of plug-ins, each a NAME.wasm [default: DATA/plugins]
    #[arg(long, value_name = "DIR", env = "FORMLINE_PLUGINS")]
    plugins: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: Data,
}

/// Where files go.
#[derive(Args, Debug)]
pub(crate) struct Data {
    /// Folder for everything that Formline writes
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./formline-data",
        env = "FORMLINE_DATA"
    )]
    pub(crate) data: PathBuf,
}

/// How to reach Kafka.
#[derive(Args, Debug)]
pub(crate) struct Kafka {
    /// Addresses of Kafka, over those of the settings [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap: Option<String>,
    /// File of settings [default: ./formline.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

/// Where operators look.
#[derive(Args, Debug)]
pub(crate) struct Admin {
    /// Address of /livez, /readyz and /metrics
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) admin: SocketAddr,
}

/// Where forms are sent.
#[derive(Args, Debug)]
pub(crate) struct Http {
    /// Address of the forms
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
}

/// Where the sheets emulator is: some commands run it, `sink` writes to it.
#[derive(Args, Debug)]
pub(crate) struct Sheets {
    /// Address of the sheets emulator [default: 127.0.0.1:8082; in `sink` none, which means Google]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) sheets: Option<SocketAddr>,
}

/// How answers are printed.
#[derive(Args, Debug)]
pub(crate) struct Output {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) apps: Apps,
    #[command(flatten)]
    pub(crate) admin: Admin,
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) sheets: Sheets,
}

#[derive(Args, Debug)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) apps: Apps,
    #[command(flatten)]
    pub(crate) admin: Admin,
    #[command(flatten)]
    pub(crate) http: Http,
}

#[derive(Args, Debug)]
pub(crate) struct Process {
    #[command(flatten)]
    pub(crate) apps: Apps,
    #[command(flatten)]
    pub(crate) admin: Admin,
    #[command(flatten)]
    pub(crate) only: Steps,
}

#[derive(Args, Debug)]
pub(crate) struct Sink {
    #[command(flatten)]
    pub(crate) apps: Apps,
    #[command(flatten)]
    pub(crate) admin: Admin,
    #[command(flatten)]
    pub(crate) only: Sinks,
    #[command(flatten)]
    pub(crate) sheets: Sheets,
}

#[derive(Args, Debug)]
pub(crate) struct SheetsEmulator {
    #[command(flatten)]
    pub(crate) sheets: Sheets,
    /// Refuse what Google's default quota would refuse: more than 60 reads or writes a minute and user
    #[arg(long)]
    pub(crate) quota: bool,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) apps: Apps,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// Create missing topics and add declared partitions
    Apply(TopicsApply),
}

#[derive(Args, Debug)]
pub(crate) struct TopicsApply {
    #[command(flatten)]
    pub(crate) apps: Apps,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Write a crate that is a working plug-in, to begin with
    New(PluginNew),
    /// Build a plug-in from its crate
    Build(PluginBuild),
    /// Run a plug-in on a folder of cases, and show what differs from what they expect
    Test(PluginTest),
    /// List the plug-in folder, and which steps use what
    List(PluginList),
    /// Show what a plug-in file says of itself
    Inspect(PluginInspect),
}

#[derive(Args, Debug)]
pub(crate) struct PluginNew {
    /// Name of the plug-in and of its crate
    pub(crate) name: String,
    /// Folder of the crate [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Where the SDK is: a folder, or the address of a git repository [default: plugins/sdk here or in a folder above]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) sdk: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct PluginBuild {
    /// Folder of the crate
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Put it into the plug-in folder, where a running line picks it up
    #[arg(long)]
    pub(crate) install: bool,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct PluginTest {
    /// The plug-in, a .wasm
    pub(crate) file: PathBuf,
    /// Folder of the cases, each a folder with events.jsonl
    pub(crate) cases: PathBuf,
    /// Make what comes what is expected
    #[arg(long)]
    pub(crate) update: bool,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct PluginList {
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) plugins: PluginFolder,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct PluginInspect {
    /// The plug-in, a .wasm
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct Tap {
    /// Topics to follow
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Only records of this form
    #[arg(long, value_name = "NAME")]
    pub(crate) form: Option<String>,
    /// Only the record with this id, and what was made of it
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Only records with this key
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only records of this partition
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<i32>,
    /// Only records with this header; repeatable
    #[arg(long = "header", value_name = "NAME[=VALUE]")]
    pub(crate) with: Vec<HeaderFilter>,
    #[command(flatten)]
    pub(crate) since: Since,
    /// Begin at the oldest record instead of the next one
    #[arg(long, conflicts_with = "since")]
    pub(crate) from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Show headers
    #[arg(long)]
    pub(crate) headers: bool,
    /// Print JSON in several lines; without --json this is so on a terminal
    #[arg(long)]
    pub(crate) pretty: bool,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
}

/// It looks from the id's own time on. An id that was derived from an Idempotency-Key has none: then from 24h ago on, or as
/// --since says.
#[derive(Args, Debug)]
pub(crate) struct Trace {
    /// Id of the submission, as its answer gave it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) since: Since,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
}

/// A header that a record must have: any value, or this one.
#[derive(Clone, Debug)]
pub(crate) struct HeaderFilter {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Count dead letters by step, sink and reason; with a filter print them, one a line
    List(DlqList),
    /// Print everything about one dead letter
    Show(DlqShow),
    /// Give dead letters back to the step or sink that gave them up, each once
    Replay(DlqSettle),
    /// Close dead letters; nobody will work on them
    Discard(DlqSettle),
}

/// Which dead letters.
#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    #[command(flatten)]
    pub(crate) steps: Steps,
    #[command(flatten)]
    pub(crate) sinks: Sinks,
    /// Only with this reason
    #[arg(long, value_name = "CODE")]
    pub(crate) reason: Option<String>,
    /// Only records of this form
    #[arg(long, value_name = "NAME")]
    pub(crate) form: Option<String>,
    #[command(flatten)]
    pub(crate) since: Since,
    /// Only before this time, or before so long ago
    #[arg(long, value_name = "TIME|DURATION")]
    pub(crate) until: Option<Moment>,
}

/// From when on.
#[derive(Args, Debug, Default)]
pub(crate) struct Since {
    /// Only from this time on, such as 2026-11-21T08:00:00Z, or from so long ago, such as 90s, 15m, 24h or 7d
    #[arg(long, value_name = "TIME|DURATION")]
    pub(crate) since: Option<Moment>,
}

#[derive(Args, Debug)]
pub(crate) struct DlqList {
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
}

#[derive(Args, Debug)]
pub(crate) struct DlqShow {
    /// The dead letter, as `list` names it
    #[arg(value_name = "APP/STEP@OFFSET")]
    pub(crate) letter: LetterId,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").multiple(true).required(true)
    .args(["letters", "steps", "sinks", "reason", "form", "since", "until"]))]
pub(crate) struct DlqSettle {
    /// Dead letters, as `list` names them; or choose them with a filter
    #[arg(value_name = "APP/STEP@OFFSET",
        conflicts_with_all = ["steps", "sinks", "reason", "form", "since", "until"])]
    pub(crate) letters: Vec<LetterId>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before several are chosen by a filter
    #[arg(long)]
    pub(crate) yes: bool,
    /// At most so many a second
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) rate: NonZeroU32,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
}

impl From<LogFormat> for telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

impl PluginFolder {
    /// The folder.
    pub(crate) fn path(&self) -> PathBuf {
        let named = self.plugins.clone();
        named.unwrap_or_else(|| self.data.data.join("plugins"))
    }
}

impl Data {
    /// Where compiled plug-ins are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }
}

impl Sheets {
    /// Where a process that runs the emulator listens.
    pub(crate) fn listen_on(&self) -> SocketAddr {
        const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);
        self.sheets.unwrap_or(DEFAULT)
    }
}

impl FromStr for HeaderFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("a header has a name, such as ce_type or ce_type=VALUE");
        }
        let name = name.to_owned();
        Ok(Self { name, value })
    }
}
