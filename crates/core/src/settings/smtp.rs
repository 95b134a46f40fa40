//! `[smtp]`: the mail server.

use std::time::Duration;

use crate::{
    config::{
        SectionReader,
        keys::formline_toml::{file, smtp},
    },
    secret::Secret,
};

/// The mail server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Smtp {
    /// `smtps://USER:PASSWORD@HOST:PORT` for TLS, or `smtp://…` for STARTTLS.
    pub url: Secret,
    /// How long a response may take.
    pub timeout: Duration,
}

// === impl Smtp ===

impl Smtp {
    /// `None` if no address is set.
    pub(super) fn read(root: &mut SectionReader<'_>) -> Option<Self> {
        let mut table = root.table_or_empty(&file::SMTP);
        let url = table.filled_text(&smtp::URL);
        let timeout = table.milliseconds(&smtp::TIMEOUT_MS);
        table.finish();
        let url = Secret::new(url?);
        Some(Self { url, timeout })
    }
}
