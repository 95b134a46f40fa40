//! What the table of kinds needs to know of sheets sinks.

use formline_core::app::{Buffer, Sheets, Sink};
use futures::future::BoxFuture;

use super::audit;
use crate::{
    engine::{
        context::title,
        kind::Kind,
        options::{AuditSources, Options},
        outcome::{AuditQuery, IdSource, OutcomeVisitor},
    },
    error::Error,
};

impl Kind for Sheets {
    fn id_source(&self) -> IdSource {
        IdSource::Submission
    }

    fn require(&self, sink: &Sink, options: &Options) -> Result<(), Error> {
        if options.google.is_none() {
            return Err(Error::NoGoogle);
        }
        if matches!(self.buffer, Buffer::Redis { .. }) && options.redis.is_none() {
            return Err(Error::NoRedis(title(sink)));
        }
        Ok(())
    }

    fn can_flush(&self) -> bool {
        self.buffer != Buffer::Memory
    }

    fn audit<'a>(
        &'a self,
        sources: &'a AuditSources,
        query: AuditQuery<'a>,
        visit: OutcomeVisitor<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let google = sources.google.as_ref().ok_or(Error::NoGoogle)?;
            audit::audit(google, self, query, visit).await
        })
    }
}
