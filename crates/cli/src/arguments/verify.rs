//! What can be typed to have every submission accounted for: `verify`.

use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;

use super::{Folders, Kafka, Output, Sheets, Sinks};
use crate::moment::Moment;

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Submissions that were accepted from this time on, such as 2026-11-21T08:00:00Z, or from so long ago
    #[arg(long, value_name = "TIME|DURATION", default_value = "24h")]
    pub(crate) since: Moment,
    /// Look again until nothing is under way any more, for at most so long, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = patience)]
    pub(crate) wait: Option<Duration>,
    /// End with 1 also if a step has not passed something on, or something is still under way
    #[arg(long)]
    pub(crate) complete: bool,
    #[command(flatten)]
    pub(crate) sinks: Sinks,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) sheets: Sheets,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) kafka: Kafka,
}

pub(super) fn patience(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "write a duration of at most a day, such as 30s or 10m";
    let patience: SignedDuration = text.parse().map_err(|_| WRONG)?;
    let patience = Duration::try_from(patience).map_err(|_| WRONG)?;
    let is_short = patience <= Duration::from_secs(86_400);
    is_short.then_some(patience).ok_or(WRONG)
}
