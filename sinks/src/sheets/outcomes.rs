//! The rows of a sheets sink as a person sees them: the tab is found by its mark, wherever it stands and whatever it is
//! called by now, the columns by their headings.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use formline_core::{app::Sheets, retry::Backoff};

use super::{
    check_spreadsheet,
    google::{self, Api, Google, Outcome as Answer, quoted},
    mark::Found,
    request::{FIXED, LATE},
};
use crate::{
    Error,
    outcomes::{Outcome, Place, Question, State, Visit},
};

/// A spreadsheet that is being read for one sink.
struct Look<'a> {
    api: Api,
    spreadsheet: &'a str,
    /// Consumer group of the sink.
    sink: String,
}

/// Rows of one answer. Google has no limit but recommends 2 MB, and an id has 40 bytes in JSON.
const PART: u64 = 20_000;

/// What Google's quota refuses is granted a minute later at the latest: the waits sum up to more.
const ATTEMPTS: usize = 8;

/// Gives every row of the sink to `visit`, top to bottom, one spreadsheet after the other as it has filled them. Without a
/// tab there are none, and none of a spreadsheet that is not on its list any more.
pub(crate) async fn outcomes(
    google: &Google,
    settings: &Sheets,
    question: Question<'_>,
    visit: Visit<'_>,
) -> Result<(), Error> {
    let api = Api::open(google).await?;
    for spreadsheet in std::iter::once(&settings.spreadsheet).chain(&settings.further) {
        check_spreadsheet(spreadsheet)?;
        let look = Look {
            api: api.clone(),
            spreadsheet,
            sink: question.sink.group(),
        };
        if let Some(tab) = look.tab().await? {
            look.rows(&tab, visit).await?;
        }
    }
    Ok(())
}

// === impl Look ===

impl Look<'_> {
    /// The tab of the sink.
    async fn tab(&self) -> Result<Option<google::Tab>, Error> {
        let entries = self.ask(|| self.api.entries(self.spreadsheet)).await?;
        let sheet = match Found::among(&entries, &self.sink, self.spreadsheet, 0) {
            Found::Known(known) => known.mark.sheet,
            Found::Nothing => return Ok(None),
            Found::CopyOf(original) => {
                let spreadsheet = self.spreadsheet.to_owned();
                return Err(Error::Copy {
                    spreadsheet,
                    original,
                });
            }
        };
        let tabs = self.ask(|| self.api.tabs(self.spreadsheet)).await?;
        Ok(tabs.into_iter().find(|tab| tab.id == sheet))
    }

    async fn rows(&self, tab: &google::Tab, visit: Visit<'_>) -> Result<(), Error> {
        let title: Arc<str> = tab.title.as_str().into();
        let spreadsheet: Arc<str> = self.spreadsheet.into();
        let [ids, _, notes] = self.columns(tab).await?;
        let mut first = 2;
        while first <= tab.rows {
            let rows = first..=tab.rows.min(first + PART - 1);
            let ranges = [ids, notes].map(|column| range(&title, column, &rows));
            let read = self.ask(|| self.api.columns(self.spreadsheet, &ranges));
            let mut read = read
                .await?
                .into_iter()
                .map(|range| range.into_iter().next());
            let mut column = || read.next().flatten().unwrap_or_default();
            let (ids, notes) = (column(), column());
            for (number, id) in rows.clone().zip(&ids) {
                let note = usize::try_from(number - first).ok();
                let note = note.and_then(|at| notes.get(at));
                // A row that a person has added has no id of ours.
                if let Ok(id) = id.parse() {
                    visit(Outcome {
                        id,
                        state: State::Done,
                        is_late: note.is_some_and(|note| note == LATE),
                        place: Some(Place {
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

    /// Where the fixed columns stand by now, from 0.
    async fn columns(&self, tab: &google::Tab) -> Result<[usize; 3], Error> {
        let read = self.ask(|| self.api.headings(self.spreadsheet, &tab.title));
        let headings = read.await?;
        let mut columns = [0; FIXED.len()];
        for (column, name) in columns.iter_mut().zip(FIXED) {
            let found = headings.iter().position(|heading| heading == name);
            *column = found.ok_or_else(|| Error::NoColumn {
                tab: tab.title.clone(),
                column: name,
            })?;
        }
        Ok(columns)
    }

    /// Asks until there is an answer, some times.
    async fn ask<T, F: Future<Output = Answer<T>>>(
        &self,
        question: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(32));
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let mut wait = backoff.delay();
            match question().await {
                Answer::Done(value) => return Ok(value),
                Answer::Refused(why) | Answer::Denied(why) => {
                    last = why;
                    break;
                }
                Answer::Busy(asked) => {
                    wait = asked.map_or(wait, |asked| asked.max(wait));
                    "too many calls".clone_into(&mut last);
                }
                Answer::Unknown(why) => last = why,
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

/// The name of a column that is counted from 0: A to Z, AA to ZZ, AAA and so on.
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
    fn columns_are_named_as_in_a_spreadsheet() {
        let names = [0, 25, 26, 51, 52, 701, 702].map(letters);
        assert_eq!(names, ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
        assert_eq!(range("Bob's", 2, &(2..=9)), "'Bob''s'!C2:C9");
    }
}
