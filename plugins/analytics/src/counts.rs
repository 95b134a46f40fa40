//! Submissions per form and minute, kept in the store `counts` and sent on after each event.
//!
//! A partition counts what it sees itself, so a form's total is the sum over partitions. A minute
//! is kept for a retention of stream time, the newest record timestamp of the partition. A
//! submission whose own minute is farther from that is counted in the newest one, so that
//! the sum over minutes is always the number of submissions.

use formline_plugin_sdk::{Event, InitError, Outputs, Record, Reject, Store};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const STREAM_TIME: &str = "stream-time";
/// Entries read at once while old ones are removed.
const PAGE: u32 = 256;

/// A time, or the beginning of a window, in seconds since 1970.
type Seconds = i64;

/// How long a window lasts, and how long it is kept.
#[derive(Debug)]
pub(crate) struct Counts {
    window: Seconds,
    retention: Seconds,
}

/// What is kept for one form and minute.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Count {
    submissions: u64,
    flagged: u64,
}

/// What is sent. Of two with one key the last holds, so the topic can be compacted.
#[derive(Debug, Serialize)]
struct CountRecord<'a> {
    version: u32,
    form: &'a str,
    minute: &'a str,
    partition: i32,
    #[serde(flatten)]
    count: Count,
}

// === impl Counts ===

impl Counts {
    /// # Errors
    /// `bad-window` if it is not whole minutes, `bad-retention` if it is shorter than a window.
    pub(crate) fn new(window_seconds: u32, retention_seconds: u32) -> Result<Self, InitError> {
        if window_seconds == 0 || !window_seconds.is_multiple_of(60) {
            let detail = "count_window_seconds should be 60 or a multiple of it";
            return Err(InitError::new("bad-window", detail));
        }
        if retention_seconds < window_seconds {
            let detail = "retention_seconds should be at least count_window_seconds";
            return Err(InitError::new("bad-retention", detail));
        }
        Ok(Self {
            window: window_seconds.into(),
            retention: retention_seconds.into(),
        })
    }

    /// Counts one submission.
    ///
    /// # Errors
    /// Those of stores and outputs.
    pub(crate) fn add(
        &self,
        event: &Event,
        form: &str,
        flagged: bool,
        out: &mut Outputs,
    ) -> Result<(), Reject> {
        let mut store = out.store("counts");
        let stream_time = self.advance(&mut store, arrival(event))?;
        let minute = rfc3339(self.minute(event, stream_time, out));

        // The time comes first, so that old entries stand together.
        let key = format!("window/{minute}/{form}");
        let mut count: Count = store.get_json(&key)?.unwrap_or_default();
        count.submissions += 1;
        count.flagged += u64::from(flagged);
        store.put_json(&key, &count)?;

        let partition = event.partition();
        let record = Record::json(&CountRecord {
            version: 1,
            form,
            minute: &minute,
            partition,
            count,
        })?;
        out.send("counts", record.key(format!("{form}/{minute}/{partition}")))
    }

    /// The window of the newest arrival so far. Each step forward removes what has grown too old.
    fn advance(&self, store: &mut Store, arrival: Seconds) -> Result<Seconds, Reject> {
        let window = self.window_of(arrival);
        if let Some(last) = store.get_json::<Seconds>(STREAM_TIME)?
            && last >= window
        {
            return Ok(last);
        }
        store.put_json(STREAM_TIME, &window)?;
        self.expire(store, window)?;
        Ok(window)
    }

    /// There are at most retention / window entries per form.
    fn expire(&self, store: &mut Store, stream_time: Seconds) -> Result<(), Reject> {
        let oldest = rfc3339(stream_time - self.retention);
        let oldest = format!("window/{oldest}").into_bytes();
        loop {
            let page = store.scan("window/", None, PAGE)?;
            let old: Vec<_> = page.iter().take_while(|(key, _)| *key < oldest).collect();
            for (key, _) in &old {
                store.delete(key)?;
            }
            if old.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// The window that a submission counts in: by the time at which it was accepted, if known.
    fn minute(&self, event: &Event, stream_time: Seconds, out: &mut Outputs) -> Seconds {
        let minute = self.window_of(accepted(event).unwrap_or_else(|| arrival(event)));
        if minute.abs_diff(stream_time) > self.retention.unsigned_abs() {
            out.count("submissions_out_of_time", 1);
            return stream_time;
        }
        minute
    }

    fn window_of(&self, time: Seconds) -> Seconds {
        time - time.rem_euclid(self.window)
    }
}

fn accepted(event: &Event) -> Option<Seconds> {
    let time = event.header_text("ce_time")?;
    let time = OffsetDateTime::parse(&time, &Rfc3339).ok()?;
    Some(time.unix_timestamp())
}

/// The record's timestamp. One in the future, by a producer whose clock is wrong, would make all
/// others old; one before 1970 is Kafka's way to say that there is none.
fn arrival(event: &Event) -> Seconds {
    let now = event.batch_time_ms().max(0);
    event.timestamp_ms().clamp(0, now) / 1000
}

/// Four digits of year, so that texts are in order of time. Years beyond them, which no host's clock
/// shows, are all 1970.
fn rfc3339(time: Seconds) -> String {
    OffsetDateTime::from_unix_timestamp(time)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}
