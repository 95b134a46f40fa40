//! The rows of a sheets sink as a user sees them. The tab is found by its checkpoint, whatever its
//! position and title are now, and the columns are found by their headings.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use formline_core::{app::Sheets, retry::Backoff};

use super::{
    api::client::{ApiResponse, SheetsApi, TabProperties, check_spreadsheet_id, quoted},
    log::{
        checkpoint::FoundCheckpoint,
        headings::{FIXED_HEADINGS, LATE_NOTE},
    },
};
use crate::{
    engine::{
        options::Google,
        outcome::{AuditQuery, OutcomeState, OutcomeVisitor, RowLocation, SinkOutcome},
    },
    error::Error,
};

/// A spreadsheet that is read for one sink.
struct SpreadsheetReader<'a> {
    api: SheetsApi,
    spreadsheet: &'a str,
    /// Consumer group of the sink.
    sink: String,
}

/// Rows of one response. Google has no limit but recommends 2 MB, and an id takes 40 bytes in JSON.
const ROWS_PER_CALL: u64 = 20_000;

/// Calls beyond Google's quota are granted a minute later at most, and the delays add up to more
/// than that.
const MAX_ATTEMPTS: usize = 8;

/// Passes every row of the sink to `visit`, from top to bottom, one spreadsheet after another in
/// the order in which the sink filled them. There are none without a tab, and none of a spreadsheet
/// that the app no longer lists.
pub(crate) async fn audit(
    google: &Google,
    settings: &Sheets,
    query: AuditQuery<'_>,
    visit: OutcomeVisitor<'_>,
) -> Result<(), Error> {
    let api = SheetsApi::open(google).await?;
    for spreadsheet in std::iter::once(&settings.spreadsheet).chain(&settings.further) {
        check_spreadsheet_id(spreadsheet)?;
        let reader = SpreadsheetReader {
            api: api.clone(),
            spreadsheet,
            sink: query.sink.group(),
        };
        if let Some(tab) = reader.tab().await? {
            reader.rows(&tab, visit).await?;
        }
    }
    Ok(())
}

// === impl SpreadsheetReader ===

impl SpreadsheetReader<'_> {
    /// The tab of the sink.
    async fn tab(&self) -> Result<Option<TabProperties>, Error> {
        let entries = self.retry(|| self.api.metadata(self.spreadsheet)).await?;
        let sheet_id = match FoundCheckpoint::find(&entries, &self.sink, self.spreadsheet, 0) {
            FoundCheckpoint::Newest(known) => known.checkpoint.sheet_id,
            FoundCheckpoint::Missing => return Ok(None),
            FoundCheckpoint::CopyOf(original) => {
                let spreadsheet = self.spreadsheet.to_owned();
                return Err(Error::Copy {
                    spreadsheet,
                    original,
                });
            }
        };
        let tabs = self.retry(|| self.api.tabs(self.spreadsheet)).await?;
        Ok(tabs.into_iter().find(|tab| tab.id == sheet_id))
    }

    async fn rows(&self, tab: &TabProperties, visit: OutcomeVisitor<'_>) -> Result<(), Error> {
        let title: Arc<str> = tab.title.as_str().into();
        let spreadsheet: Arc<str> = self.spreadsheet.into();
        let [ids, _, notes] = self.columns(tab).await?;
        let mut first = 2;
        while first <= tab.rows {
            let rows = first..=tab.rows.min(first + ROWS_PER_CALL - 1);
            let ranges = [ids, notes].map(|column| range(&title, column, &rows));
            let read = self.retry(|| self.api.columns(self.spreadsheet, &ranges));
            let mut read = read
                .await?
                .into_iter()
                .map(|range| range.into_iter().next());
            let mut column = || read.next().flatten().unwrap_or_default();
            let (ids, notes) = (column(), column());
            for (number, id) in rows.clone().zip(&ids) {
                let note = usize::try_from(number - first).ok();
                let note = note.and_then(|at| notes.get(at));
                // A row that a user has added has none of our ids.
                if let Ok(id) = id.parse() {
                    visit(SinkOutcome {
                        id,
                        state: OutcomeState::Done,
                        is_late: note.is_some_and(|note| note == LATE_NOTE),
                        location: Some(RowLocation {
                            spreadsheet: Arc::clone(&spreadsheet),
                            tab: Arc::clone(&title),
                            row: number,
                        }),
                    });
                }
            }
            first = rows.end() + 1;
        }
        Ok(())
    }

    /// The present indexes of the fixed columns, from 0.
    async fn columns(&self, tab: &TabProperties) -> Result<[usize; 3], Error> {
        let read = self.retry(|| self.api.headings(self.spreadsheet, &tab.title));
        let headings = read.await?;
        let mut columns = [0; FIXED_HEADINGS.len()];
        for (column, name) in columns.iter_mut().zip(FIXED_HEADINGS) {
            let found = headings.iter().position(|heading| heading == name);
            *column = found.ok_or_else(|| Error::NoColumn {
                tab: tab.title.clone(),
                column: name,
            })?;
        }
        Ok(columns)
    }

    /// Retries a call a limited number of times.
    async fn retry<T, F: Future<Output = ApiResponse<T>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(32));
        let mut last = String::new();
        for _ in 0..MAX_ATTEMPTS {
            let mut wait = backoff.delay();
            match call().await {
                ApiResponse::Done(value) => return Ok(value),
                ApiResponse::Rejected(why) | ApiResponse::Denied(why) => {
                    last = why;
                    break;
                }
                ApiResponse::RateLimited(asked) => {
                    wait = asked.map_or(wait, |asked| asked.max(wait));
                    "too many calls".clone_into(&mut last);
                }
                ApiResponse::Unknown(why) => last = why,
            }
            tokio::time::sleep(wait).await;
        }
        Err(Error::Unread {
            sink: self.sink.clone(),
            why: last,
        })
    }
}

/// Part of a column in A1 notation.
fn range(title: &str, column: usize, rows: &RangeInclusive<u64>) -> String {
    let (letters, title) = (letters(column), quoted(title));
    format!("{title}!{letters}{}:{letters}{}", rows.start(), rows.end())
}

/// The name of the column with this index, from 0: A to Z, AA to ZZ, AAA and so on.
fn letters(mut column: usize) -> String {
    const ALPHABET: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(ALPHABET[column % 26]));
        if column < 26 {
            return letters.into_iter().rev().collect();
        }
        column = column / 26 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_names_of_spreadsheets() {
        let names = [0, 25, 26, 51, 52, 701, 702].map(letters);
        assert_eq!(names, ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
        assert_eq!(range("Bob's", 2, &(2..=9)), "'Bob''s'!C2:C9");
    }
}
