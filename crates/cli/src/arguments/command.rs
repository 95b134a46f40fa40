//! The root of the command line: global flags and the list of commands with their help texts.

use clap::{Parser, Subcommand, ValueEnum};
use formline_core::telemetry;

use super::{
    dlq::DlqCommand,
    generate::{CompletionsArgs, ManArgs},
    observe::{TapArgs, TopArgs, TraceArgs},
    plugin::PluginCommand,
    run::{
        CheckArgs, FlushArgs, IngestArgs, ProcessArgs, SheetsEmulatorArgs, SinkArgs, TopicsCommand,
        UpArgs,
    },
    verify::VerifyArgs,
};
use crate::version::VERSION;

/// Process form submissions: from HTTP through Kafka and WebAssembly plug-ins to sheets,
/// PostgreSQL, e-mail and webhooks
///
/// A submission that was answered with 2xx is never lost, and has its effect in a sheet or in
/// PostgreSQL exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "formline",
    version = VERSION,
    propagate_version = true,
    max_term_width = 100,
    after_help = AFTER_HELP
)]
pub(crate) struct Arguments {
    /// Format of the logs on standard error
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

/// Exit codes and variables that all commands share.
const AFTER_HELP: &str = "\
Exit codes:
  0   success
  1   the command failed, or found something wrong
  64  wrong usage: an unknown flag or value, or an error in an app or in the settings

Environment:
  RUST_LOG    log filter, such as debug or formline_sinks=debug; without it, Formline logs from
              level info on and libraries from level warn on
  FORMLINE_*  the keys of formline.toml, such as FORMLINE_BOOTSTRAP for bootstrap";

/// The commands, in the order in which help lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process: ingest, all steps, all sinks and the sheets emulator
    ///
    /// Needs a running Kafka. Creates the topics that the apps declare. Sheets sinks write to the
    /// sheets emulator unless Google credentials are configured. SIGTERM or Ctrl-C finishes the
    /// work in progress and stops.
    #[command(after_help = "\
Examples:
  formline up
  formline up --app apps/demo --bootstrap kafka-1:9092,kafka-2:9092")]
    Up(UpArgs),
    /// Run the HTTP service, which validates submissions and writes them to Kafka
    #[command(after_help = "\
Examples:
  formline ingest --http 0.0.0.0:8080 --admin 0.0.0.0:8081")]
    Ingest(IngestArgs),
    /// Run steps, which read topics, call plug-ins and write their outputs to topics
    ///
    /// Several processes share the partitions of a step. Each needs an instance name of its own,
    /// which is the host name unless FORMLINE_INSTANCE is set.
    #[command(after_help = "\
Examples:
  formline process
  formline process --step student-data/rows --step student-data/enrich")]
    Process(ProcessArgs),
    /// Run sinks, which write records to sheets, PostgreSQL, e-mail and webhooks
    #[command(after_help = "\
Examples:
  formline sink
  formline sink --sink student-data/student-sheet --sheets 127.0.0.1:8082")]
    Sink(SinkArgs),
    /// Write the rows that sheets sinks have buffered in Redis, and exit
    ///
    /// Intended for a scheduled job. Sinks with buffer = "redis" and other flushes may run at the
    /// same time: each row is written once. Rows that an earlier submission may still precede stay
    /// in Redis. Exits with 1 if a sink could not write all its due rows before the timeout, or
    /// needs an operator; the rows of the other sinks are written nevertheless.
    #[command(after_help = "\
Examples:
  formline flush --sink student-sheet
  formline flush --sink student-sheet --timeout 30s --json")]
    Flush(FlushArgs),
    /// Run the sheets emulator, which implements the part of the Google Sheets API that sinks use
    #[command(after_help = "\
Examples:
  formline sheets-emulator --quota")]
    SheetsEmulator(SheetsEmulatorArgs),
    /// Check apps, settings and plug-ins, and report all errors at once
    ///
    /// Starts nothing and connects to nothing. Exits with 64 if there are errors.
    #[command(after_help = "\
Examples:
  formline check
  formline check --app apps/demo --json")]
    Check(CheckArgs),
    /// Manage the topics that the apps declare
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Create, build, test and inspect plug-ins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Print the records of topics as they arrive
    ///
    /// Reads outside of any consumer group, so it affects no other consumer. Shows committed
    /// records only. Without --count it runs until it is interrupted.
    #[command(after_help = "\
Examples:
  formline tap student-data
  formline tap student-data student-data.rows --since 15m --headers
  formline tap student-data --from-beginning --count 1 --json")]
    Tap(TapArgs),
    /// Find a submission in every topic, and show which sinks have processed it
    ///
    /// Searches from the time in the id on. An id that was derived from an Idempotency-Key contains
    /// no time: the search then starts 24 hours ago, or at --since. Times are those of the records:
    /// an output of a step keeps the time of its input; a state change and a dead letter have the
    /// time at which they were written. State topics are compacted, so only the latest change of a
    /// key may be left.
    #[command(after_help = "\
Examples:
  formline trace 019ab111-5f2e-7000-8000-1a2b3c4d5e6f
  formline trace 019ab111-5f2e-7000-8000-1a2b3c4d5e6f --since 7d --json")]
    Trace(TraceArgs),
    /// Show throughput, lag, latency and errors of every stage, live
    ///
    /// One row per form, step and sink, summed over the processes that work on it. Columns: events
    /// since the processes started, and per second; lag, the records that a step is behind or that
    /// a sink buffers; p99, the 99th percentile of the latency within the last 30 intervals (of a
    /// form: until its response; of a step or sink: since the submission was accepted); errors and
    /// dead letters since the processes started; the plug-in; and the state. A row is red if it had
    /// errors or dead letters within these intervals. Keys: s changes the sort order, p pauses, q
    /// quits.
    #[command(after_help = "\
Examples:
  formline top
  formline top --url http://10.0.0.1:8081 --url http://10.0.0.2:8081
  formline top --once --json")]
    Top(TopArgs),
    /// List, inspect, replay and discard dead letters
    ///
    /// A dead letter is a record that a step or sink could not process. It is kept, with the
    /// reason, in the dead-letter topic of the step or sink.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Check that every accepted submission has arrived at every sink exactly once
    ///
    /// Reads topics, sheets and tables independently of the sinks. A submission counts as delivered
    /// if each of its records that the sink has read is at the destination once; as late if its row
    /// is marked as late, being below a later submission; as a dead letter if a step or the sink
    /// dead-lettered it; as under way if a consumer group has not passed it yet; as not passed on
    /// if a step made no output of it, which plug-ins may; as missing if every group has passed it
    /// and it is not at the destination; as doubled if it is there more often than the sink has
    /// read it; as disorder if its row is below a later submission and not marked as late, for
    /// instance because a user has sorted the sheet. E-mails and webhooks cannot be read back, so
    /// the journal of the sink is read instead. Submissions under way are no failure. Exits with 1
    /// if something is missing, doubled or out of order, or cannot be read. Uses about 250 bytes of
    /// memory per submission.
    #[command(after_help = "\
Examples:
  formline verify
  formline verify --since 7d --wait 2m --complete
  formline verify --sink archive --json")]
    Verify(VerifyArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  formline completions bash >~/.local/share/bash-completion/completions/formline
  formline completions zsh >\"${fpath[1]}/_formline\"
  formline completions fish >~/.config/fish/completions/formline.fish")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write the pages of all commands to a folder
    #[command(after_help = "\
Examples:
  formline man | man -l -
  formline man --output ~/.local/share/man/man1")]
    Man(ManArgs),
}

/// Format of the logs.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable text
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

// === impl LogFormat ===

impl From<LogFormat> for telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}
