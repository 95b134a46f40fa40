//! Configuration of a sink that calls an HTTP address.

use std::time::Duration;

use super::schedule;
use crate::{
    config::{SectionReader, keys::app_toml::sink},
    secret::Secret,
};

/// Configuration of a webhook sink. Whether address and secrets can be used is checked by the sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhook {
    /// The address to call. Whoever knows it can often use it, so it is not shown.
    pub url: Secret,
    /// Each call is signed with all of them, so that one can be replaced while the receiver still
    /// knows the other.
    pub secrets: Vec<Secret>,
    /// How long a response may take.
    pub timeout: Duration,
    /// Maximum number of calls in progress for each partition.
    pub in_flight: usize,
    /// The delay after each failed call, none shorter than the one before. After the last one, the
    /// record becomes a dead letter.
    pub schedule: Vec<Duration>,
}

// === impl Webhook ===

impl Webhook {
    pub(super) fn read(section: &mut SectionReader<'_>) -> Self {
        let secrets = section.texts(&sink::SECRET);
        Self {
            url: Secret::new(section.text(&sink::URL)),
            secrets: secrets.into_iter().map(Secret::new).collect(),
            timeout: section.milliseconds(&sink::TIMEOUT_MS),
            in_flight: section.size(&sink::IN_FLIGHT),
            schedule: schedule::read(section, &sink::WEBHOOK_SCHEDULE),
        }
    }
}
