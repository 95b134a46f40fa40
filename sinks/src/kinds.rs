//! The table of the kinds of sinks: the only file that matches `SinkKind`.

use std::time::Duration;

use formline_core::{
    App, Diagnostic, Telemetry,
    app::{Email, Postgres, Sheets, SinkKind, Webhook},
};
use ipnet::IpNet;

use crate::{
    email,
    engine::{
        context::{Flushed, SinkContext, Work},
        kind::Kind,
        metrics::MetricFamilies,
        options::Options,
    },
    error::Error,
    postgres, redis, sheets, webhook,
};

/// Sinks by kind: what the sinks of one kind share is opened once for all of them.
#[derive(Default)]
struct ByKind {
    sheets: Vec<(SinkContext, Sheets)>,
    postgres: Vec<(SinkContext, Postgres)>,
    email: Vec<(SinkContext, Email)>,
    webhook: Vec<(SinkContext, Webhook)>,
}

/// The functions of a kind.
pub(crate) fn of(kind: &SinkKind) -> &dyn Kind {
    match kind {
        SinkKind::Sheets(settings) => settings,
        SinkKind::Postgres(settings) => settings,
        SinkKind::Email(settings) => settings,
        SinkKind::Webhook(settings) => settings,
    }
}

/// Opens sinks of every kind.
pub(crate) async fn open(
    options: &Options,
    contexts: Vec<SinkContext>,
) -> Result<Vec<(SinkContext, Work)>, Error> {
    let by_kind = ByKind::of(contexts);
    let mut works = Vec::new();
    if !by_kind.sheets.is_empty() {
        works.extend(sheets::open(options, by_kind.sheets).await?);
    }
    if !by_kind.postgres.is_empty() {
        works.extend(postgres::open(options, by_kind.postgres)?);
    }
    if !by_kind.email.is_empty() {
        works.extend(email::open(options, by_kind.email)?);
    }
    if !by_kind.webhook.is_empty() {
        works.extend(webhook::open(options, by_kind.webhook)?);
    }
    Ok(works)
}

/// Registers the metrics of all sinks without opening one, for a list of what there is.
pub fn register_metrics(telemetry: &Telemetry) {
    MetricFamilies::register(telemetry);
    redis::register_metrics(telemetry);
    sheets::register_metrics(telemetry);
    postgres::register_metrics(telemetry);
    email::register_metrics(telemetry);
    webhook::register_metrics(telemetry);
}

/// Writes the rows that wait in Redis; only sheets sinks have such rows.
pub(crate) async fn flush(
    options: &Options,
    contexts: Vec<SinkContext>,
    patience: Duration,
) -> Result<Vec<Flushed>, Error> {
    for context in &contexts {
        if !of(&context.sink.kind).can_flush() {
            return Err(Error::NothingToFlush(context.sink.name.clone()));
        }
    }
    // Boxed, because the compiler cannot handle a future of this depth.
    Box::pin(sheets::flush(
        options,
        ByKind::of(contexts).sheets,
        patience,
    ))
    .await
}

/// Checks what the sinks of an app name: addresses, templates and secrets. `networks` are those
/// that webhook sinks may call although they are not public; if they are not known, addresses of
/// webhooks are not checked. What a host name resolves to is checked on each call.
#[must_use]
pub fn check(app: &App, networks: Option<&[IpNet]>) -> Vec<Diagnostic> {
    let sinks = app.sinks.iter();
    sinks
        .filter_map(|sink| of(&sink.kind).check(app, sink, networks))
        .collect()
}

// === impl ByKind ===

impl ByKind {
    fn of(contexts: Vec<SinkContext>) -> Self {
        let mut by_kind = Self::default();
        for context in contexts {
            match context.sink.kind.clone() {
                SinkKind::Sheets(settings) => by_kind.sheets.push((context, settings)),
                SinkKind::Postgres(settings) => by_kind.postgres.push((context, settings)),
                SinkKind::Email(settings) => by_kind.email.push((context, settings)),
                SinkKind::Webhook(settings) => by_kind.webhook.push((context, settings)),
            }
        }
        by_kind
    }
}
