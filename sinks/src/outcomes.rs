//! What sinks have done, as an outsider sees it: rows in sheets and tables, not our own counters and offsets; and of
//! mails and calls, which nobody can look at afterwards, what the journal says. Who is to hold it against what was accepted is `formline verify`.

use std::{fmt, sync::Arc};

use formline_core::{
    Client, EventId,
    app::{Sink, SinkKind},
    settings::Secret,
};
use jiff::Timestamp;

use crate::{Error, journal, postgres, sheets};

/// Where the things lie that sinks write to.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The Kafka that has the journals of those whose effect cannot be looked at.
    pub client: Client,
    /// Which Google has the sheets.
    pub google: Option<sheets::Google>,
    /// Address of the PostgreSQL.
    pub postgres_url: Option<Secret>,
}

/// Which outcomes are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Those of this sink.
    pub sink: &'a Sink,
    /// Of submissions to these forms, by their `ce_source`. A sheet does not say, and gives those of others too.
    pub sources: &'a [String],
    /// Of submissions that were accepted from this time on. A sheet gives earlier ones too.
    pub since: Timestamp,
}

/// One thing that a sink has done, such as a row.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whose it is: see [`Naming`].
    pub id: EventId,
    /// Whether it is there.
    pub state: State,
    /// Whether it says of itself that it stands below a later submission.
    pub is_late: bool,
    /// Where it stands, for a sink that keeps order. Outcomes of such a sink come in the order in which they stand.
    pub place: Option<Place>,
}

/// Whether a sink has done something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It has.
    Done,
    /// Nobody knows, and the sink does not try again: an e-mail whose server has twice not answered.
    Uncertain,
    /// Not yet: it has passed the record in its input, and keeps it for a later attempt.
    UnderWay,
}

/// A row of a tab.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Id of the spreadsheet.
    pub spreadsheet: Arc<str>,
    /// Title of the tab.
    pub tab: Arc<str>,
    /// Number of the row as a person sees it, from 1.
    pub row: u64,
}

/// Which id the outcomes of a sink carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Naming {
    /// That of the submission. What a step has made of it in several records has several outcomes of one id.
    Submission,
    /// That of the record that the sink has read.
    Record,
}

/// Takes outcomes one by one, so that nobody has to hold all of them.
pub type Visit<'a> = &'a mut (dyn FnMut(Outcome) + Send);

// === impl Outside ===

impl Outside {
    /// Gives each outcome to `visit`. What carries an id that is none of ours, such as a row that a person has added, is
    /// left out.
    ///
    /// # Errors
    /// If it is not known where the sink writes to, or if it does not answer within some attempts.
    pub async fn outcomes(&self, question: Question<'_>, visit: Visit<'_>) -> Result<(), Error> {
        match &question.sink.kind {
            SinkKind::Sheets(settings) => {
                let google = self.google.as_ref().ok_or(Error::NoGoogle)?;
                sheets::outcomes(google, settings, question, visit).await
            }
            SinkKind::Postgres(settings) => {
                let url = self.postgres_url.as_ref();
                let sink = question.sink;
                let unknown = || Error::NoPostgres(format!("{}/{}", sink.app, sink.name));
                postgres::outcomes(url.ok_or_else(unknown)?, settings, question, visit).await
            }
            SinkKind::Email(_) | SinkKind::Webhook(_) => {
                journal::outcomes(&self.client, question, visit).await
            }
        }
    }
}

// === impl Naming ===

impl Naming {
    /// How the outcomes of a sink are named.
    pub fn of(kind: &SinkKind) -> Self {
        match kind {
            SinkKind::Sheets(_) => Self::Submission,
            SinkKind::Postgres(_) | SinkKind::Email(_) | SinkKind::Webhook(_) => Self::Record,
        }
    }
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            spreadsheet,
            tab,
            row,
        } = self;
        write!(f, "row {row} of tab {tab} of {spreadsheet}")
    }
}
