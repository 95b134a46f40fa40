//! The four calls of the Sheets API that the sink makes, and what each answer means. The crate google-sheets4 knows
//! neither time limits nor which of its errors leave the outcome of a write open.

use std::{path::PathBuf, time::Duration};

use google_sheets4::{
    Delegate, Error as CallError, FieldMask, Sheets as Hub,
    api::{
        BatchUpdateSpreadsheetRequest, DataFilter, DeveloperMetadataLookup, Scope,
        SearchDeveloperMetadataRequest, Spreadsheet, ValueRange,
    },
    common::{NoToken, Response, Retry},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::{
    account::Account,
    mark::{self, Entry},
};
use crate::Error;

/// Which Google to write to.
#[derive(Clone, Debug)]
pub enum Google {
    /// The sheets emulator, which asks for no credentials.
    Emulator {
        /// Its address with a slash at the end, such as `http://127.0.0.1:8082/`.
        base_url: String,
    },
    /// Google, as a service account that the spreadsheets are shared with.
    ServiceAccount {
        /// The account's key as Google's console gives it, a JSON file.
        key_file: PathBuf,
        /// Another server of the same API, with a slash at the end.
        base_url: Option<String>,
    },
}

/// A connection to Google. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    hub: Hub<HttpsConnector<HttpConnector>>,
    timeout: Duration,
    /// How often the headings of a tab are read.
    look_every: Duration,
    /// Whose calls Google counts.
    account: String,
}

/// What the answer to a call means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome<T> {
    Done(T),
    /// Too many calls: nothing was done, wait at least so long.
    Busy(Option<Duration>),
    /// Nothing was done: the call is wrong as it is.
    Refused(String),
    /// Nothing was done: we may not, or the spreadsheet is not there. A person can change that.
    Denied(String),
    /// Nobody knows whether it was done.
    Unknown(String),
}

/// A tab as the spreadsheet lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tab {
    pub(crate) id: i32,
    pub(crate) title: String,
    /// Rows of its grid, empty ones included.
    pub(crate) rows: u64,
    /// Cells of its grid, empty ones included, since they count towards Google's limit.
    pub(crate) cells: u64,
}

/// Above the 180 s after which Google itself gives up, so that nothing is under way any more.
const TIMEOUT: Duration = Duration::from_secs(200);

/// Each look is two calls, of which Google grants 60 a minute for all sinks.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// Tests wait for it.
const EMULATOR_LOOK_EVERY: Duration = Duration::from_secs(20);

/// The emulator is near, and its faults are for tests. Asking the marks early is safe, it only costs a call.
const EMULATOR_TIMEOUT: Duration = Duration::from_secs(10);

// === impl Api ===

impl Api {
    /// Reads the key, if there is one. Connects only when it is first used.
    pub(crate) async fn open(google: &Google) -> Result<Self, Error> {
        let client = Client::builder(TokioExecutor::new()).build(connector());
        let (mut hub, base_url, [timeout, look_every], account) = match google {
            Google::Emulator { base_url } => {
                let hub = Hub::new(client, NoToken);
                let times = [EMULATOR_TIMEOUT, EMULATOR_LOOK_EVERY];
                (hub, Some(base_url), times, base_url.clone())
            }
            Google::ServiceAccount { key_file, base_url } => {
                let account = Account::open(key_file, connector()).await?;
                let name = account.name.clone();
                let hub = Hub::new(client, account);
                (hub, base_url.as_ref(), [TIMEOUT, LOOK_EVERY], name)
            }
        };
        if let Some(base_url) = base_url {
            hub.base_url(base_url.clone());
            hub.root_url(base_url.clone());
        }
        Ok(Self {
            hub,
            timeout,
            look_every,
            account,
        })
    }

    /// How often the headings of a tab are read.
    pub(crate) fn look_every(&self) -> Duration {
        self.look_every
    }

    /// Whose calls Google counts: the service account.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// All tabs of a spreadsheet.
    pub(crate) async fn tabs(&self, spreadsheet: &str) -> Outcome<Vec<Tab>> {
        let mut watch = Watch::default();
        let call = self
            .hub
            .spreadsheets()
            .get(spreadsheet)
            .param("fields", "sheets.properties");
        let call = call
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut watch)
            .doit();
        let answer = tokio::time::timeout(self.timeout, call).await;
        watch
            .judge(answer)
            .map(|spreadsheet| read_tabs(&spreadsheet))
    }

    /// Every mark of a spreadsheet.
    pub(crate) async fn entries(&self, spreadsheet: &str) -> Outcome<Vec<Entry>> {
        let lookup = DeveloperMetadataLookup {
            metadata_key: Some(mark::KEY.to_owned()),
            ..DeveloperMetadataLookup::default()
        };
        let filter = DataFilter {
            developer_metadata_lookup: Some(lookup),
            ..DataFilter::default()
        };
        let request = SearchDeveloperMetadataRequest {
            data_filters: Some(vec![filter]),
        };
        let mut watch = Watch::default();
        let call = self
            .hub
            .spreadsheets()
            .developer_metadata_search(request, spreadsheet);
        let call = call
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut watch)
            .doit();
        let answer = tokio::time::timeout(self.timeout, call).await;
        watch.judge(answer).map(|found| {
            let found = found
                .matched_developer_metadata
                .unwrap_or_default()
                .into_iter();
            found
                .filter_map(|matched| read_entry(matched.developer_metadata?))
                .collect()
        })
    }

    /// The texts of several ranges, each a list of columns. Empty cells at the end of a column are left out.
    pub(crate) async fn columns(
        &self,
        spreadsheet: &str,
        ranges: &[String],
    ) -> Outcome<Vec<Vec<Vec<String>>>> {
        let mut watch = Watch::default();
        let call = self.hub.spreadsheets().values_batch_get(spreadsheet);
        let call = ranges
            .iter()
            .fold(call, |call, range| call.add_ranges(range));
        let call = call
            .major_dimension("COLUMNS")
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut watch)
            .doit();
        let answer = tokio::time::timeout(self.timeout, call).await;
        watch.judge(answer).map(|found| {
            let ranges = found.value_ranges.unwrap_or_default().into_iter();
            ranges.map(read_columns).collect()
        })
    }

    /// The texts of a tab's first row.
    pub(crate) async fn headings(&self, spreadsheet: &str, title: &str) -> Outcome<Vec<String>> {
        let row = [format!("{}!1:1", quoted(title))];
        let read = self.columns(spreadsheet, &row).await;
        read.map(|ranges| {
            let columns = ranges.into_iter().flatten();
            columns
                .map(|cells| cells.into_iter().next().unwrap_or_default())
                .collect()
        })
    }

    /// Applies a batch, all of it or nothing.
    pub(crate) async fn write(
        &self,
        spreadsheet: &str,
        request: BatchUpdateSpreadsheetRequest,
    ) -> Outcome<()> {
        let mut watch = Watch::default();
        let call = self.hub.spreadsheets().batch_update(request, spreadsheet);
        let call = call
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut watch)
            .doit();
        let answer = tokio::time::timeout(self.timeout, call).await;
        watch.judge(answer).map(|_| ())
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("timeout", &self.timeout)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Speaks HTTP/1.1 to plain addresses: with its defaults the crate would try HTTP/2 there.
fn connector() -> HttpsConnector<HttpConnector> {
    HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_all_versions()
        .build()
}

fn read_tabs(spreadsheet: &Spreadsheet) -> Vec<Tab> {
    let sheets = spreadsheet
        .sheets
        .iter()
        .flatten()
        .filter_map(|sheet| sheet.properties.as_ref());
    let size = |count: Option<i32>| u64::from(count.unwrap_or_default().unsigned_abs());
    let tab = |sheet: &google_sheets4::api::SheetProperties| {
        let grid = sheet.grid_properties.clone().unwrap_or_default();
        let rows = size(grid.row_count);
        Tab {
            // Zero values are left out of Google's JSON.
            id: sheet.sheet_id.unwrap_or_default(),
            title: sheet.title.clone().unwrap_or_default(),
            rows,
            cells: rows * size(grid.column_count),
        }
    };
    sheets.map(tab).collect()
}

fn read_columns(range: ValueRange) -> Vec<Vec<String>> {
    let text = |cell: serde_json::Value| match cell {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let columns = range.values.unwrap_or_default().into_iter();
    columns
        .map(|cells| cells.into_iter().map(text).collect())
        .collect()
}

fn read_entry(found: google_sheets4::api::DeveloperMetadata) -> Option<Entry> {
    // Zero values are left out of Google's JSON.
    let sheet = found.location?.sheet_id.unwrap_or_default();
    Some(Entry {
        id: found.metadata_id?,
        sheet,
        value: found.metadata_value.unwrap_or_default(),
    })
}

/// The title of a tab in A1 notation.
pub(crate) fn quoted(title: &str) -> String {
    format!("'{}'", title.replace('\'', "''"))
}

/// A mask of one field.
pub(crate) fn field(name: &str) -> Option<FieldMask> {
    Some(FieldMask::new(&[name]))
}

// === impl Outcome ===

impl<T> Outcome<T> {
    fn map<U>(self, done: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Done(value) => Outcome::Done(done(value)),
            Self::Busy(wait) => Outcome::Busy(wait),
            Self::Refused(why) => Outcome::Refused(why),
            Self::Denied(why) => Outcome::Denied(why),
            Self::Unknown(why) => Outcome::Unknown(why),
        }
    }

    /// Label of a metric.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Busy(_) => "busy",
            Self::Refused(_) => "refused",
            Self::Denied(_) => "denied",
            Self::Unknown(_) => "unknown",
        }
    }
}

// === Watch ===

/// Sees what the crate's errors leave out: the status of an answer, and when to come back.
#[derive(Debug, Default)]
struct Watch {
    status: Option<u16>,
    retry_after: Option<Duration>,
}

impl Delegate for Watch {
    fn http_failure(&mut self, response: &Response, _: Option<&serde_json::Value>) -> Retry {
        self.status = Some(response.status().as_u16());
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok());
        self.retry_after = after
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs);
        // A second attempt inside the crate would hide the outcome of the first.
        Retry::Abort
    }
}

impl Watch {
    fn judge<T>(
        &self,
        answer: Result<google_sheets4::Result<(Response, T)>, tokio::time::error::Elapsed>,
    ) -> Outcome<T> {
        let error = match answer {
            Ok(Ok((_, value))) => return Outcome::Done(value),
            Ok(Err(error)) => error,
            Err(_) => return Outcome::Unknown("no answer in time".to_owned()),
        };
        let why = describe(&error);
        match self.status {
            Some(400 | 413) => Outcome::Refused(why),
            Some(401 | 403 | 404) => Outcome::Denied(why),
            Some(429) => Outcome::Busy(self.retry_after),
            _ if matches!(error, CallError::MissingToken(_)) => Outcome::Denied(why),
            // Also an answer that broke off after status 200: the write has happened, but who knows which.
            _ => Outcome::Unknown(why),
        }
    }
}

/// Google's own words where there are any. Never the answer's text, which may hold what people have written.
fn describe(error: &CallError) -> String {
    match error {
        CallError::BadRequest(body) => {
            let said = body
                .pointer("/error/message")
                .and_then(serde_json::Value::as_str);
            said.unwrap_or("an error without a message").to_owned()
        }
        CallError::Failure(response) => format!("status {}", response.status()),
        CallError::HttpError(error) => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
        CallError::MissingToken(error) => format!("no access token: {error}"),
        CallError::JsonDecodeError(_, error) => format!("an answer that is not JSON: {error}"),
        other => other.to_string().trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use google_sheets4::common::to_body;
    use serde_json::json;

    use super::*;

    /// What a call's error means after an answer with `status` and the header `Retry-After: 7`.
    fn judge(status: Option<u16>, error: CallError) -> Outcome<()> {
        let mut watch = Watch::default();
        if let Some(status) = status {
            let _ = watch.http_failure(&response(status), None);
        }
        watch.judge(Ok(Err(error)))
    }

    fn response(status: u16) -> Response {
        let response = hyper::Response::builder()
            .status(status)
            .header("retry-after", "7");
        response
            .body(to_body::<String>(None))
            .expect("a legal response")
    }

    fn said(message: &str) -> CallError {
        CallError::BadRequest(json!({ "error": { "message": message } }))
    }

    #[test]
    fn the_status_says_whether_anything_was_done() {
        let why = || "why".to_owned();
        assert_eq!(judge(Some(400), said("why")), Outcome::Refused(why()));
        assert_eq!(judge(Some(413), said("why")), Outcome::Refused(why()));
        for status in [401, 403, 404] {
            assert_eq!(judge(Some(status), said("why")), Outcome::Denied(why()));
        }
        assert_eq!(
            judge(Some(429), said("why")),
            Outcome::Busy(Some(Duration::from_secs(7)))
        );
        for status in [408, 409, 500, 502, 503, 504] {
            assert_eq!(judge(Some(status), said("why")), Outcome::Unknown(why()));
        }
    }

    #[test]
    fn answers_that_are_not_googles_leave_the_outcome_open() {
        let gateway = judge(Some(502), CallError::Failure(response(502)));
        assert_eq!(gateway, Outcome::Unknown("status 502 Bad Gateway".into()));
        let broken = serde_json::from_str::<()>("secret").expect_err("it is no JSON");
        let Outcome::Unknown(why) =
            judge(None, CallError::JsonDecodeError("secret".into(), broken))
        else {
            unreachable!("nobody knows")
        };
        assert!(why.contains("not JSON") && !why.contains("secret"), "{why}");
        let odd = judge(Some(500), CallError::BadRequest(json!([])));
        assert_eq!(odd, Outcome::Unknown("an error without a message".into()));
        assert_eq!(
            judge(None, CallError::Cancelled),
            Outcome::Unknown("Operation cancelled by delegate".into())
        );
    }

    #[test]
    fn without_a_token_nothing_was_sent() {
        let denied = judge(None, CallError::MissingToken("expired".into()));
        assert_eq!(denied, Outcome::Denied("no access token: expired".into()));
    }
}
