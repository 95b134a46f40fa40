//! Limits how many e-mails are sent to one address and for one form in an hour. Without them, a
//! form could be used to flood a mailbox.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::compose::Mail;
use crate::per_record::entry::{AttemptOutcome, RecordedEntry};

/// The limits of one sink in this process. Other processes count for the partitions that they own.
#[derive(Debug)]
pub(crate) struct RateLimits {
    per_address: usize,
    per_form: usize,
    counted: Mutex<SentTimes>,
}

/// When messages were sent, each queue with the oldest first. A form has at most `per_form` times,
/// and there are few forms, so the number of addresses is bounded as well.
#[derive(Debug, Default)]
struct SentTimes {
    forms: BTreeMap<String, VecDeque<Timestamp>>,
    addresses: BTreeMap<String, VecDeque<Timestamp>>,
}

/// The period that the limits refer to.
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

// === impl RateLimits ===

impl RateLimits {
    pub(crate) fn new(per_address: usize, per_form: usize) -> Self {
        Self {
            per_address,
            per_form,
            counted: Mutex::default(),
        }
    }

    /// Counts a message.
    ///
    /// # Errors
    /// Which limit the message would exceed; then it is not counted.
    pub(crate) fn take(&self, mail: &Mail) -> Result<(), String> {
        let now = Timestamp::now();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.drop_before(now - HOUR);
        if counted.of_address(&mail.recipient) >= self.per_address {
            return Err(format!(
                "more than {} e-mails to one address in an hour",
                self.per_address
            ));
        }
        if counted.of_form(&mail.form) >= self.per_form {
            return Err(format!(
                "more than {} e-mails for one form in an hour",
                self.per_form
            ));
        }
        counted.add(&mail.form, &mail.recipient, now);
        Ok(())
    }

    /// Replaces the counts by what the journal says about the last hour.
    pub(crate) fn recall<'a>(&self, entries: impl IntoIterator<Item = &'a RecordedEntry>) {
        let since = Timestamp::now() - HOUR;
        let mut counted = SentTimes::default();
        let mut seen = HashSet::new();
        for RecordedEntry { key, entry, .. } in entries {
            let is_new = entry.outcome == AttemptOutcome::Attempting && entry.at >= since;
            if let Some((form, recipient)) = entry.detail.split_once(' ').filter(|_| is_new)
                && seen.insert(key)
            {
                counted.add(form, recipient, entry.at);
            }
        }
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }
}

/// The detail of an entry about an attempt, which `recall` reads back. Names of forms have no
/// spaces.
pub(crate) fn detail(mail: &Mail) -> String {
    format!("{} {}", mail.form, mail.recipient)
}

// === impl SentTimes ===

impl SentTimes {
    fn add(&mut self, form: &str, recipient: &str, at: Timestamp) {
        self.forms.entry(form.to_owned()).or_default().push_back(at);
        let addresses = self.addresses.entry(recipient.to_owned());
        addresses.or_default().push_back(at);
    }

    fn of_form(&self, form: &str) -> usize {
        self.forms.get(form).map_or(0, VecDeque::len)
    }

    fn of_address(&self, recipient: &str) -> usize {
        self.addresses.get(recipient).map_or(0, VecDeque::len)
    }

    fn drop_before(&mut self, time: Timestamp) {
        for times in [&mut self.forms, &mut self.addresses] {
            times.retain(|_, times| {
                while times.front().is_some_and(|first| *first < time) {
                    times.pop_front();
                }
                !times.is_empty()
            });
        }
    }
}
