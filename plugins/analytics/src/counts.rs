//! Submissions per form and minute, kept in the store `counts` and sent after each event.
//!
//! Each partition counts its own submissions, so a form's total is the sum over partitions. A
//! minute is kept for a retention period of stream time, which is the newest record timestamp of
//! the partition. A submission whose own minute is further away is counted in the newest minute, so
//! that the sum over minutes always equals the number of submissions.

use formline_plugin_sdk::{Event, InitError, Outputs, Record, Reject, Store};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const STREAM_TIME: &str = "stream-time";
/// Entries that are read at once while old ones are deleted.
const PAGE: u32 = 256;

/// A time, or the start of a window, in seconds since 1970.
type Seconds = i64;

/// The length of a window, and how long it is kept.
#[derive(Debug)]
pub(crate) struct Counts {
    window: Seconds,
    retention: Seconds,
}

/// The counts of one form and minute.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Count {
    submissions: u64,
    flagged: u64,
}

/// The record that is sent. The last record of a key is the valid one, so the topic can be
/// compacted.
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
    /// `bad-window` unless the window is a multiple of a minute, `bad-retention` if the retention
    /// is shorter than a window.
    pub(crate) fn new(window_seconds: u32, retention_seconds: u32) -> Result<Self, InitError> {
        if window_seconds == 0 || !window_seconds.is_multiple_of(60) {
            let detail = "count_window_seconds must be 60 or a multiple of it";
            return Err(InitError::new("bad-window", detail));
        }
        if retention_seconds < window_seconds {
            let detail = "retention_seconds must be at least count_window_seconds";
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

        // The time comes first, so that old entries are adjacent.
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

    /// Returns the window of the newest arrival so far, and deletes old entries when it advances.
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

    /// Deletes old entries. There are at most retention / window entries per form.
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

    /// The window in which a submission is counted: that of the time of its acceptance, if known.
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

/// The record's timestamp, limited to the wall clock: a timestamp in the future, from a producer
/// with a wrong clock, would make all other submissions old. Kafka uses a negative timestamp for a
/// missing one.
fn arrival(event: &Event) -> Seconds {
    let now = event.batch_time_ms().max(0);
    event.timestamp_ms().clamp(0, now) / 1000
}

/// The time as text with a four-digit year, so that texts sort by time. Years beyond that, which no
/// host's clock shows, become 1970.
fn rfc3339(time: Seconds) -> String {
    OffsetDateTime::from_unix_timestamp(time)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}
