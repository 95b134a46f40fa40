//! What can be typed to look inside a line: `tap`, `trace`, `top` and `dlq`.

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use formline_core::letter::LetterId;
use jiff::SignedDuration;

use super::{Folders, Kafka, Output, Running, Sinks, Steps};
use crate::moment::Moment;

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

#[derive(Args, Debug)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) url: Running,
    /// From one look to the next, from 200ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Print one table after an interval and end; this is so without a terminal, and with --json
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) output: Output,
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

fn interval(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "write a duration from 200ms to 1m, such as 2s";
    let interval: SignedDuration = text.parse().map_err(|_| WRONG)?;
    let interval = interval.try_into().map_err(|_| WRONG)?;
    let allowed = Duration::from_millis(200)..=Duration::from_secs(60);
    allowed.contains(&interval).then_some(interval).ok_or(WRONG)
}
