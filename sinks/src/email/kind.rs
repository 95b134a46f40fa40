//! The functions that the kind `email` exports.

use formline_core::{
    App, Diagnostic, Telemetry,
    app::{Email, Sink},
};
use futures::future::BoxFuture;
use ipnet::IpNet;

use super::{compose::Composer, handler::EmailHandler, rate_limit::RateLimits, server::SmtpServer};
use crate::{
    engine::{
        context::{SinkContext, Work, title},
        kind::Kind,
        metrics::OutcomeCounter,
        options::{AuditSources, Options},
        outcome::{AuditQuery, IdSource, OutcomeVisitor},
    },
    error::Error,
    per_record::{audit, session, tracker::AttemptTracker},
};

/// Registers the metric that only email sinks have.
pub(crate) fn register_metrics(telemetry: &Telemetry) -> OutcomeCounter {
    OutcomeCounter::register(
        telemetry,
        "formline_email_messages_total",
        "Attempts to send an e-mail, by outcome.",
    )
}

/// Opens the email sinks of a process.
pub(crate) fn open(
    options: &Options,
    sinks: Vec<(SinkContext, Email)>,
) -> Result<Vec<(SinkContext, Work)>, Error> {
    let messages = register_metrics(&options.telemetry);
    let mut works = Vec::with_capacity(sinks.len());
    for (context, settings) in sinks {
        let smtp = (options.smtp.as_ref()).ok_or_else(|| Error::NoSmtp(title(&context.sink)))?;
        let composer = Composer::read(&context.app, &context.sink, &settings);
        let handler = EmailHandler {
            composer: composer.map_err(|diagnostic| Error::Email(Box::new(diagnostic)))?,
            server: SmtpServer::open(smtp)?,
            limits: RateLimits::new(settings.per_address, settings.per_form),
            tracker: AttemptTracker::of(&context),
            messages: messages.clone(),
        };
        let work = session::work(&context, handler);
        works.push((context, work));
    }
    Ok(works)
}

// === impl Email ===

impl Kind for Email {
    fn id_source(&self) -> IdSource {
        IdSource::Record
    }

    fn require(&self, sink: &Sink, options: &Options) -> Result<(), Error> {
        match options.smtp {
            Some(_) => Ok(()),
            None => Err(Error::NoSmtp(title(sink))),
        }
    }

    fn check(&self, app: &App, sink: &Sink, _: Option<&[IpNet]>) -> Option<Diagnostic> {
        Composer::read(app, sink, self).err()
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
