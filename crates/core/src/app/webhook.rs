//! Settings of a sink that calls an address of somebody else.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Section, SinkKind};
use crate::settings::Secret;

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

/// Delays of one schedule: each has a partition of its own.
const MAX_DELAYS: usize = 20;

/// A longer wait than this is for a person: the dead letter.
const MAX_DELAY: SignedDuration = SignedDuration::from_hours(7 * 24);

// === impl Webhook ===

impl Webhook {
    pub(super) fn read(section: &mut Section<'_>) -> SinkKind {
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
            schedule: read_schedule(section),
        })
    }
}

fn read_schedule(section: &mut Section<'_>) -> Vec<Duration> {
    let key = "schedule";
    let Some(written) = section.optional_texts(key) else {
        return SCHEDULE.map(Duration::from_secs).to_vec();
    };
    let mut delays: Vec<Duration> = Vec::with_capacity(written.len());
    for text in written.iter().filter(|text| !text.is_empty()) {
        match text.parse::<SignedDuration>() {
            Ok(delay) if delay > SignedDuration::ZERO && delay <= MAX_DELAY => {
                delays.push(delay.unsigned_abs());
            }
            _ => {
                let remedy = "write delays of up to seven days, such as [\"5s\", \"10m\", \"24h\"]";
                section.mistake(key, &format!("`{text}` is not a delay"), remedy);
            }
        }
    }
    let remedy = match () {
        () if written.is_empty() => "write at least one delay, or leave `schedule` away",
        () if written.len() > MAX_DELAYS => "write at most 20 delays",
        () if !delays.is_sorted() => "write no delay that is shorter than the one before",
        () => return delays,
    };
    section.mistake(key, "this is no schedule of calls", remedy);
    delays
}
