//! Settings of a sink that calls an address of somebody else.

use std::time::Duration;

use super::{SinkKind, schedule};
use crate::config::SectionReader;
use crate::secret::Secret;

/// Settings of a webhook sink. Whether address and secrets can be used is the sink's business.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhook {
    /// What is called: `https://…`, or `http://…` within the networks that the installation allows. Who knows the address
    /// can often use it, so it is not shown.
    pub url: Secret,
    /// Every call is signed with each of them, so that one can be replaced while the receiver still knows the other.
    pub secrets: Vec<Secret>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Calls under way at one time for each partition.
    pub in_flight: usize,
    /// How long to wait after each failed call, none shorter than the one before. After the last the record is a dead
    /// letter.
    pub schedule: Vec<Duration>,
}

/// The schedule that Standard Webhooks 1.0.0 gives as an example, behind the call at once.
const SCHEDULE: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

// === impl Webhook ===

impl Webhook {
    pub(super) fn read(section: &mut SectionReader<'_>) -> SinkKind {
        let url = section.required_text("url");
        if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
            let remedy = "write https://HOST/PATH";
            section.mistake("url", "this is no address that can be called", remedy);
        }
        let secrets = section.required_texts("secret");
        let timeout = section.count("timeout_ms", 15_000, 100..=60_000);
        SinkKind::Webhook(Self {
            url: Secret::new(url),
            secrets: secrets.into_iter().map(Secret::new).collect(),
            timeout: Duration::from_millis(timeout.into()),
            in_flight: section.size("in_flight", 8, 1..=100),
            schedule: schedule::read(section, &SCHEDULE),
        })
    }
}
