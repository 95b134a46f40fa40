//! Configuration of a sink that sends e-mails.

use std::time::Duration;

use super::schedule;
use crate::config::{SectionReader, keys::app_toml::sink};

/// Configuration of an e-mail sink. The mail server is a setting of the installation
/// ([`Settings::smtp`](crate::Settings::smtp)). Whether addresses and templates are valid is
/// checked by the sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email {
    /// The field that contains the address of the recipient, or a JSON pointer to it.
    pub to: String,
    /// The sender: `Name <address>`, or an address alone.
    pub from: String,
    /// The address for replies, if it is not the sender.
    pub reply_to: Option<String>,
    /// Template of the subject.
    pub subject: String,
    /// Name of the template: `NAME.txt`, `NAME.html` or both, in the folder of the app.
    pub template: String,
    /// Maximum number of mails to one address in an hour.
    pub per_address: usize,
    /// Maximum number of mails for one form in an hour.
    pub per_form: usize,
    /// The delay each time the server defers a mail. After the last one, it becomes a dead letter.
    pub schedule: Vec<Duration>,
}

// === impl Email ===

impl Email {
    pub(super) fn read(section: &mut SectionReader<'_>) -> Self {
        Self {
            to: section.text(&sink::TO),
            from: section.text(&sink::FROM),
            reply_to: section.optional_text(&sink::REPLY_TO),
            subject: section.text(&sink::SUBJECT),
            template: section.text(&sink::TEMPLATE),
            per_address: section.size(&sink::PER_ADDRESS),
            per_form: section.size(&sink::PER_FORM),
            schedule: schedule::read(section, &sink::EMAIL_SCHEDULE),
        }
    }
}
