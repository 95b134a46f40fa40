//! The functions that the kind `webhook` exports.

use formline_core::{
    App, Diagnostic, Telemetry,
    app::{Sink, Webhook},
};
use futures::future::BoxFuture;
use ipnet::IpNet;

use super::{
    endpoint::{Endpoint, InvalidSetting},
    handler::WebhookHandler,
};
use crate::{
    engine::{
        context::{SinkContext, Work},
        kind::Kind,
        metrics::OutcomeCounter,
        options::{AuditSources, Options},
        outcome::{AuditQuery, IdSource, OutcomeVisitor},
    },
    error::Error,
    per_record::{audit, session, tracker::AttemptTracker},
};

/// Registers the metric that only webhook sinks have.
pub(crate) fn register_metrics(telemetry: &Telemetry) -> OutcomeCounter {
    OutcomeCounter::register(
        telemetry,
        "formline_webhook_calls_total",
        "Webhook calls, by outcome.",
    )
}

/// Opens the webhook sinks of a process.
pub(crate) fn open(
    options: &Options,
    sinks: Vec<(SinkContext, Webhook)>,
) -> Result<Vec<(SinkContext, Work)>, Error> {
    let calls = register_metrics(&options.telemetry);
    let mut works = Vec::with_capacity(sinks.len());
    for (context, settings) in sinks {
        let endpoint = Endpoint::open(&settings, &options.webhook_private_addresses);
        let invalid = |invalid| Error::Webhook(Box::new(diagnostic(&context.sink, invalid)));
        let handler = WebhookHandler {
            endpoint: endpoint.map_err(invalid)?,
            in_flight: settings.in_flight,
            tracker: AttemptTracker::of(&context),
            calls: calls.clone(),
        };
        let work = session::work(&context, handler);
        works.push((context, work));
    }
    Ok(works)
}

fn diagnostic(sink: &Sink, (key, problem): InvalidSetting) -> Diagnostic {
    let remedy = match key {
        "secret" => {
            "write secret = \"${NAME}\", and set that variable to whsec_ followed by the base64 of 24 to 64 random bytes"
        }
        _ => "write url = \"https://HOST/PATH\"",
    };
    Diagnostic {
        file: sink.location.file.to_path_buf(),
        line: sink.location.line,
        problem: format!("`{key}` of sink `{}` cannot be used: {problem}", sink.name),
        remedy: remedy.to_owned(),
    }
}

// === impl Webhook ===

impl Kind for Webhook {
    fn id_source(&self) -> IdSource {
        IdSource::Record
    }

    fn require(&self, _: &Sink, _: &Options) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, _: &App, sink: &Sink, networks: Option<&[IpNet]>) -> Option<Diagnostic> {
        let invalid = Endpoint::open(self, networks?).err()?;
        Some(diagnostic(sink, invalid))
    }

    fn audit<'a>(
        &'a self,
        sources: &'a AuditSources,
        query: AuditQuery<'a>,
        visit: OutcomeVisitor<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(audit::audit(&sources.client, query, visit))
    }
}
