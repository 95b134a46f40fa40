//! Arguments of the commands that run components, prepare them or check their configuration.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    duration,
    shared::{
        AdminArgs, AppFolders, DataFolder, HttpArgs, InstallationArgs, KafkaArgs, OutputArgs,
        SheetsArgs, SinkNames, StepNames,
    },
};

/// `formline up`
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) installation: InstallationArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) sheets: SheetsArgs,
}

/// `formline ingest`
#[derive(Args, Debug)]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    pub(crate) installation: InstallationArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
}

/// `formline process`
#[derive(Args, Debug)]
pub(crate) struct ProcessArgs {
    #[command(flatten)]
    pub(crate) installation: InstallationArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) only: StepNames,
}

/// `formline sink`
#[derive(Args, Debug)]
pub(crate) struct SinkArgs {
    #[command(flatten)]
    pub(crate) installation: InstallationArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) only: SinkNames,
    #[command(flatten)]
    pub(crate) sheets: SheetsArgs,
}

/// `formline flush`
#[derive(Args, Debug)]
pub(crate) struct FlushArgs {
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    /// Sink to flush, as NAME or APP/NAME; repeatable
    #[arg(long = "sink", value_name = "NAME", required = true)]
    pub(crate) sinks: Vec<String>,
    /// Maximum duration, such as 30s; rows that are not written by then stay in Redis
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::up_to_a_day)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) sheets: SheetsArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `formline sheets-emulator`
#[derive(Args, Debug)]
pub(crate) struct SheetsEmulatorArgs {
    #[command(flatten)]
    pub(crate) sheets: SheetsArgs,
    /// Enforce the default quota of Google: 60 reads and 60 writes per minute and user
    #[arg(long)]
    pub(crate) quota: bool,
    #[command(flatten)]
    pub(crate) data: DataFolder,
}

/// `formline check`
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) installation: InstallationArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `formline topics`
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Create missing topics, and add partitions to topics that have too few
    ///
    /// Deletes nothing and changes no other property of an existing topic. `up`, `ingest`,
    /// `process` and `sink` do the same when they start.
    #[command(after_help = "\
Examples:
  formline topics apply --bootstrap kafka-1:9092")]
    Apply(TopicsApplyArgs),
}

/// `formline topics apply`
#[derive(Args, Debug)]
pub(crate) struct TopicsApplyArgs {
    #[command(flatten)]
    pub(crate) installation: InstallationArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
