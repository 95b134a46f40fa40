//! How many mails go to one address and for one form in an hour. Without it, a form would be a way to bury somebody in
//! mail.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::compose::Mail;
use crate::journal::{Noted, Outcome};

/// The limits of one sink in this process. Other processes count for the partitions that they own.
#[derive(Debug)]
pub(crate) struct Limits {
    per_address: usize,
    per_form: usize,
    counted: Mutex<Counted>,
}

/// When mails went, each oldest first. Every form holds at most `per_form` times and there are few forms, so that also
/// the addresses are bounded.
#[derive(Debug, Default)]
struct Counted {
    forms: BTreeMap<String, VecDeque<Timestamp>>,
    addresses: BTreeMap<String, VecDeque<Timestamp>>,
}

/// The time that is counted over.
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

// === impl Limits ===

impl Limits {
    pub(crate) fn new(per_address: usize, per_form: usize) -> Self {
        Self {
            per_address,
            per_form,
            counted: Mutex::default(),
        }
    }

    /// Counts a mail.
    ///
    /// # Errors
    /// Which limit it would exceed; then it is not counted.
    pub(crate) fn take(&self, mail: &Mail) -> Result<(), String> {
        let now = Timestamp::now();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.forget_before(now - HOUR);
        if counted.of_address(&mail.recipient) >= self.per_address {
            return Err(format!(
                "more than {} mails to one address in an hour",
                self.per_address
            ));
        }
        if counted.of_form(&mail.form) >= self.per_form {
            return Err(format!(
                "more than {} mails for one form in an hour",
                self.per_form
            ));
        }
        counted.add(&mail.form, &mail.recipient, now);
        Ok(())
    }

    /// Counts what the journal knows of the last hour, instead of what was counted so far.
    pub(crate) fn recall<'a>(&self, entries: impl IntoIterator<Item = &'a Noted>) {
        let since = Timestamp::now() - HOUR;
        let mut counted = Counted::default();
        let mut seen = HashSet::new();
        for Noted { chain, entry, .. } in entries {
            let is_new = entry.outcome == Outcome::Attempting && entry.at >= since;
            if let Some((form, recipient)) = entry.detail.split_once(' ').filter(|_| is_new)
                && seen.insert(chain)
            {
                counted.add(form, recipient, entry.at);
            }
        }
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }
}

/// What the journal has to say of an attempt for `recall`. Names of forms have no spaces.
pub(crate) fn detail(mail: &Mail) -> String {
    format!("{} {}", mail.form, mail.recipient)
}

// === impl Counted ===

impl Counted {
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

    fn forget_before(&mut self, time: Timestamp) {
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
