//! Arguments of `formline dlq`.

use std::num::NonZeroU32;

use clap::{ArgGroup, Args, Subcommand};
use formline_core::dead_letter::letter::DeadLetterId;

use super::shared::{AppFolders, KafkaArgs, OutputArgs, SinceArgs, SinkNames, StepNames};
use crate::time_arg::TimeArg;

/// `formline dlq`
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Count open dead letters per step, sink and reason; with a filter, list them
    #[command(after_help = "\
Examples:
  formline dlq list
  formline dlq list --step rows --reason trap --since 24h")]
    List(DlqListArgs),
    /// Print one dead letter with its record
    #[command(after_help = "\
Examples:
  formline dlq show student-data/rows@17")]
    Show(DlqShowArgs),
    /// Return dead letters to the step or sink that could not process them
    ///
    /// Each dead letter can be replayed once. Only the step or sink that dead-lettered the record
    /// reads the replay.
    #[command(after_help = "\
Examples:
  formline dlq replay student-data/rows@17
  formline dlq replay --step rows --reason trap --dry-run")]
    Replay(DlqResolveArgs),
    /// Close dead letters without processing them
    #[command(after_help = "\
Examples:
  formline dlq discard student-data/rows@17
  formline dlq discard --sink thanks --reason bad-address --yes")]
    Discard(DlqResolveArgs),
}

/// A selection of dead letters.
#[derive(Args, Debug, Default)]
pub(crate) struct DeadLetterFilter {
    #[command(flatten)]
    pub(crate) steps: StepNames,
    #[command(flatten)]
    pub(crate) sinks: SinkNames,
    /// Only dead letters with this reason
    #[arg(long, value_name = "CODE")]
    pub(crate) reason: Option<String>,
    /// Only records of this form
    #[arg(long, value_name = "NAME")]
    pub(crate) form: Option<String>,
    #[command(flatten)]
    pub(crate) since: SinceArgs,
    /// Only before this time, or before this long ago
    #[arg(long, value_name = "TIME|DURATION")]
    pub(crate) until: Option<TimeArg>,
}

/// `formline dlq list`
#[derive(Args, Debug)]
pub(crate) struct DlqListArgs {
    #[command(flatten)]
    pub(crate) filter: DeadLetterFilter,
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

/// `formline dlq show`
#[derive(Args, Debug)]
pub(crate) struct DlqShowArgs {
    /// Name of the dead letter, as printed by `formline dlq list`
    #[arg(value_name = "APP/STEP@OFFSET")]
    pub(crate) letter: DeadLetterId,
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

/// `formline dlq replay` and `formline dlq discard`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").multiple(true).required(true)
    .args(["letters", "steps", "sinks", "reason", "form", "since", "until"]))]
pub(crate) struct DlqResolveArgs {
    /// Names of dead letters, as printed by `formline dlq list`; alternatively, select by filters
    #[arg(value_name = "APP/STEP@OFFSET",
        conflicts_with_all = ["steps", "sinks", "reason", "form", "since", "until"])]
    pub(crate) letters: Vec<DeadLetterId>,
    #[command(flatten)]
    pub(crate) filter: DeadLetterFilter,
    /// Print what would be done, without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation before changing several dead letters selected by a filter
    #[arg(long)]
    pub(crate) yes: bool,
    /// Maximum number of dead letters per second
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) rate: NonZeroU32,
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}
