//! Arguments of `formline verify`.

use std::time::Duration;

use clap::Args;

use super::{
    duration,
    shared::{AppFolders, KafkaArgs, OutputArgs, SheetsArgs, SinkNames},
};
use crate::time_arg::TimeArg;

/// `formline verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Check submissions that were accepted from this time on, such as 2026-11-21T08:00:00Z, or
    /// this long ago
    #[arg(long, value_name = "TIME|DURATION", default_value = "24h")]
    pub(crate) since: TimeArg,
    /// Repeat the check until nothing is under way, for at most this long, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration::up_to_a_day)]
    pub(crate) wait: Option<Duration>,
    /// Also exit with 1 if a step has not passed something on, or something is still under way
    #[arg(long)]
    pub(crate) complete: bool,
    #[command(flatten)]
    pub(crate) sinks: SinkNames,
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) sheets: SheetsArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}
