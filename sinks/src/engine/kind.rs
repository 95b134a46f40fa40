//! A kind of sink: the functions that each kind exports.

use formline_core::{App, Diagnostic, app::Sink};
use futures::future::BoxFuture;
use ipnet::IpNet;

use super::{
    options::{AuditSources, Options},
    outcome::{AuditQuery, IdSource, OutcomeVisitor},
};
use crate::error::Error;

/// What every kind of sink offers. The settings of each kind implement it; `kinds` has the table,
/// and the function `open` of each kind opens all of its sinks at once.
pub(crate) trait Kind {
    /// Which id the outcomes of its sinks carry.
    fn id_source(&self) -> IdSource;

    /// Checks that the installation provides what a sink of this kind needs.
    ///
    /// # Errors
    /// Which setting is missing.
    fn require(&self, sink: &Sink, options: &Options) -> Result<(), Error>;

    /// What is wrong with the settings of a sink, beyond what the parser of `app.toml` checks.
    /// `networks` are those that webhook sinks may call although they are not public; `None` if
    /// they are not known.
    fn check(&self, _app: &App, _sink: &Sink, _networks: Option<&[IpNet]>) -> Option<Diagnostic> {
        None
    }

    /// Whether `formline flush` can write its waiting rows.
    fn can_flush(&self) -> bool {
        false
    }

    /// Passes each outcome of a sink to `visit`. An outcome whose id Formline did not make, such as
    /// a row that a user added, is left out.
    fn audit<'a>(
        &'a self,
        sources: &'a AuditSources,
        query: AuditQuery<'a>,
        visit: OutcomeVisitor<'a>,
    ) -> BoxFuture<'a, Result<(), Error>>;
}
