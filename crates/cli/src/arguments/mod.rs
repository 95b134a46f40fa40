//! What can be typed. A flag is declared once, in the group that it belongs to, and means the same in every command.

mod inside;
mod plugin;
mod verify;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use formline_core::telemetry;

use crate::admin;

pub(crate) use self::{
    inside::{Dlq, DlqList, DlqSettle, DlqShow, Filter, HeaderFilter, Tap, Top, Trace},
    plugin::{Plugin, PluginBuild, PluginInspect, PluginList, PluginNew, PluginTest},
    verify::Verify,
};

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
    /// Write the rows of sheets sinks that wait in Redis, and end: what a scheduled job runs
    ///
    /// Sinks with buffer = "redis" may run meanwhile, and other flushes too: each row is written once. Rows that may still be
    /// preceded by an earlier submission stay where they are. Ends with 1 if a sink has more to write than it could in time,
    /// or a person must act; the other sinks' rows are written all the same.
    Flush(Flush),
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
    /// Find a submission in every topic and store, and say which sinks have passed it
    ///
    /// It looks from the id's own time on. An id that was derived from an Idempotency-Key has none: then from 24h ago on, or
    /// as --since says. Times are those of the records: what a step makes of a record keeps its time, and a change of state
    /// or a dead letter has the time at which it was written. State is a compacted topic, in which a later change of a key
    /// replaces the earlier one.
    Trace(Trace),
    /// Watch rate, lag, latency and errors of every stage
    ///
    /// A row for each form, step and sink, summed over the processes that work on it: events since they began and a second;
    /// how many records a step is behind, or a sink holds; the time that 99 of 100 took no longer than within the last 30
    /// intervals (a form: to its answer, a step or sink: since the submission was accepted); errors and dead letters since
    /// they began; the plug-in; and what it waits for. A red row has had errors or dead letters within those intervals.
    /// Keys: s sorts, p pauses, q quits.
    Top(Top),
    /// Work with dead letters: records that a step or sink gave up on
    #[command(subcommand)]
    Dlq(Dlq),
    /// Account for every accepted submission at every sink, and end with 1 if one is missing or doubled
    ///
    /// It reads topics, sheets and tables as an outsider would. Delivered: each record that the sink has read of the
    /// submission stands there once; late, if its row says that it stands below a later submission. Dead letters: a step on
    /// the way or the sink has given it up. Under way: some consumer group has not passed it yet. Not passed on: a step has
    /// made nothing of it, which plug-ins may. Missing: everybody has passed it, and it is not there. Doubled: it is there
    /// more often than it was read. Disorder: a row stands below one that was submitted later, and does not say so; a person
    /// may have sorted. Ends with 0 if all is well, also while some are under way, with 1 if something is missing, doubled or
    /// out of order, or if something cannot be read. Memory: about 250 bytes for each submission of the time.
    Verify(Verify),
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
    /// Address of /livez, /readyz, /metrics and /plugins
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) admin: SocketAddr,
}

/// Which running processes are asked.
#[derive(Args, Debug)]
pub(crate) struct Running {
    /// Admin address of a running process; repeatable
    #[arg(
        long = "url",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081"
    )]
    pub(crate) urls: Vec<admin::Address>,
}

/// Where forms are sent.
#[derive(Args, Debug)]
pub(crate) struct Http {
    /// Address of the forms
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
}

/// Where the sheets emulator is: some commands run it, `sink` writes to it, `verify` reads it.
#[derive(Args, Debug)]
pub(crate) struct Sheets {
    /// Address of the sheets emulator [default: 127.0.0.1:8082; in `sink` and `verify` none, which means Google]
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
pub(crate) struct Flush {
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
    /// This sink, as NAME or APP/NAME; repeatable
    #[arg(long = "sink", value_name = "NAME", required = true)]
    pub(crate) sinks: Vec<String>,
    /// End after so long at the latest, such as 30s; what is not written by then stays in Redis
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = verify::patience)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) sheets: Sheets,
    #[command(flatten)]
    pub(crate) output: Output,
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
