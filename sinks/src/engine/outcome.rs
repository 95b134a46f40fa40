//! What a sink has done with a record, as an audit reads it from the destination.

use std::{fmt, sync::Arc};

use formline_core::{EventId, app::Sink};
use jiff::Timestamp;

/// Selects the outcomes of an audit.
#[derive(Clone, Copy, Debug)]
pub struct AuditQuery<'a> {
    /// The sink.
    pub sink: &'a Sink,
    /// The `ce_source` of each form whose submissions are audited. A sheet does not store it, so
    /// outcomes of other forms are passed on too.
    pub sources: &'a [String],
    /// Submissions that were accepted from this time on. A sheet passes on earlier ones too.
    pub since: Timestamp,
}

/// One effect of a sink, such as a row.
#[derive(Clone, Debug)]
pub struct SinkOutcome {
    /// The id that the effect carries; see [`IdSource`].
    pub id: EventId,
    /// Whether the effect is there.
    pub state: OutcomeState,
    /// Whether the row is flagged as written after a later submission.
    pub is_late: bool,
    /// Where the row is, for a sink that keeps order. Outcomes of such a sink are passed on in the
    /// order of rows.
    pub location: Option<RowLocation>,
}

/// Whether a sink has had its effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutcomeState {
    /// The effect is there.
    Done,
    /// The outcome is unknown, and the sink does not retry: the SMTP server twice did not confirm
    /// an e-mail.
    Unknown,
    /// Not yet: the sink has passed the record in its input, and keeps it for a later attempt.
    UnderWay,
}

/// A row of a tab.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RowLocation {
    /// Id of the spreadsheet.
    pub spreadsheet: Arc<str>,
    /// Title of the tab.
    pub tab: Arc<str>,
    /// Number of the row as the spreadsheet shows it, from 1.
    pub row: u64,
}

/// Which id the outcomes of a sink carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdSource {
    /// The id of the submission. If a step makes several records of one submission, their outcomes
    /// share its id.
    Submission,
    /// The id of the record that the sink has read.
    Record,
}

/// Takes outcomes one by one, so that they need not be held in memory.
pub type OutcomeVisitor<'a> = &'a mut (dyn FnMut(SinkOutcome) + Send);

// === impl RowLocation ===

impl fmt::Display for RowLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            spreadsheet,
            tab,
            row,
        } = self;
        write!(f, "row {row} of tab {tab} of {spreadsheet}")
    }
}
