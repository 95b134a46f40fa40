//! Arguments of the commands that observe a running system: `tap`, `trace` and `top`.

use std::{str::FromStr, time::Duration};

use clap::Args;

use super::{
    duration,
    shared::{AdminUrls, AppFolders, KafkaArgs, OutputArgs, SinceArgs},
};

/// `formline tap`
#[derive(Args, Debug)]
pub(crate) struct TapArgs {
    /// Topics to read
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Only records of this form
    #[arg(long, value_name = "NAME")]
    pub(crate) form: Option<String>,
    /// Only the record with this id, and the records that were derived from it
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Only records with this key
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only records of this partition
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<i32>,
    /// Only records with this header, and this value if one is given; repeatable
    #[arg(long = "header", value_name = "NAME[=VALUE]")]
    pub(crate) with: Vec<HeaderFilter>,
    #[command(flatten)]
    pub(crate) since: SinceArgs,
    /// Start at the oldest record instead of the next one
    #[arg(long, conflicts_with = "since")]
    pub(crate) from_beginning: bool,
    /// Exit after this number of records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Print the headers
    #[arg(long)]
    pub(crate) headers: bool,
    /// Print JSON on several lines; the default on a terminal, unless --json is given
    #[arg(long)]
    pub(crate) pretty: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

/// `formline trace`
#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    /// Id of the submission, as returned when it was accepted
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) since: SinceArgs,
    #[command(flatten)]
    pub(crate) folders: AppFolders,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

/// `formline top`
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) url: AdminUrls,
    /// Refresh interval, from 200ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::interval)]
    pub(crate) interval: Duration,
    /// Print one table after one interval and exit; implied by --json and without a terminal
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A header that a record must have, with any value or with the given one.
#[derive(Clone, Debug)]
pub(crate) struct HeaderFilter {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

// === impl HeaderFilter ===

impl FromStr for HeaderFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("the name of the header is missing; write NAME or NAME=VALUE");
        }
        let name = name.to_owned();
        Ok(Self { name, value })
    }
}
