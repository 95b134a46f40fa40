//! What sinks have done, as an audit reads it from the outside: rows in sheets and tables, not the
//! offsets and counters of Formline. The effects of e-mail and webhook sinks cannot be checked at
//! the destination, so the audit reads their journals. `formline verify` compares the outcomes with
//! what was accepted.

use formline_core::app::SinkKind;

pub use crate::engine::{
    options::AuditSources,
    outcome::{AuditQuery, IdSource, OutcomeState, OutcomeVisitor, RowLocation, SinkOutcome},
};
use crate::{error::Error, kinds};

/// Passes each outcome of a sink to `visit`. An outcome whose id Formline did not make, such as a
/// row that a user added, is left out.
///
/// # Errors
/// If `sources` does not name where the sink writes to, or if the destination does not answer
/// within some attempts.
pub async fn outcomes(
    sources: &AuditSources,
    query: AuditQuery<'_>,
    visit: OutcomeVisitor<'_>,
) -> Result<(), Error> {
    kinds::of(&query.sink.kind)
        .audit(sources, query, visit)
        .await
}

/// Which id the outcomes of a kind of sink carry.
pub fn id_source(kind: &SinkKind) -> IdSource {
    kinds::of(kind).id_source()
}
