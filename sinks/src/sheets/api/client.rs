//! The calls of the Sheets API that a sink makes, and what each response means. The crate
//! google-sheets4 has no timeouts, and does not say which of its errors leave the outcome of a
//! write unknown.

use std::time::Duration;

use formline_core::app::is_spreadsheet_id;
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

use super::account::ServiceAccount;
use crate::{
    engine::options::Google,
    error::Error,
    sheets::log::checkpoint::{METADATA_KEY, MetadataEntry},
};

/// A client of the Sheets API. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SheetsApi {
    hub: Hub<HttpsConnector<HttpConnector>>,
    timeout: Duration,
    /// How often the headings of a tab are checked.
    headings_interval: Duration,
    /// The account whose calls Google counts.
    account: String,
}

/// What the response to a call means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ApiResponse<T> {
    Done(T),
    /// Too many calls. Nothing was done; wait at least this long.
    RateLimited(Option<Duration>),
    /// Nothing was done, because the call is invalid.
    Rejected(String),
    /// Nothing was done: access is denied, or the spreadsheet does not exist. A user can change
    /// that.
    Denied(String),
    /// It is unknown whether the call was applied.
    Unknown(String),
}

/// A tab as the spreadsheet lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TabProperties {
    pub(crate) id: i32,
    pub(crate) title: String,
    /// Rows of its grid, including empty ones.
    pub(crate) rows: u64,
    /// Cells of its grid, including empty ones, because they count towards Google's limit.
    pub(crate) cells: u64,
}

/// Longer than the 180 s after which Google itself gives up, so that nothing is in flight any more.
const TIMEOUT: Duration = Duration::from_secs(200);

/// Each check takes two calls. Google grants 60 a minute for all sinks.
const HEADINGS_INTERVAL: Duration = Duration::from_secs(300);

// === impl SheetsApi ===

impl SheetsApi {
    /// Reads the key file, if there is one. Connects only with the first call.
    pub(crate) async fn open(google: &Google) -> Result<Self, Error> {
        let client = Client::builder(TokioExecutor::new()).build(connector());
        let (mut hub, base_url, [timeout, headings_interval], account) = match google {
            Google::Emulator { base_url, timing } => {
                let hub = Hub::new(client, NoToken);
                let times = [timing.call_timeout, timing.headings_interval];
                (hub, Some(base_url), times, base_url.clone())
            }
            Google::ServiceAccount { key_file, base_url } => {
                let account = ServiceAccount::open(key_file, connector()).await?;
                let name = account.name.clone();
                let hub = Hub::new(client, account);
                (hub, base_url.as_ref(), [TIMEOUT, HEADINGS_INTERVAL], name)
            }
        };
        if let Some(base_url) = base_url {
            hub.base_url(base_url.clone());
            hub.root_url(base_url.clone());
        }
        Ok(Self {
            hub,
            timeout,
            headings_interval,
            account,
        })
    }

    /// How often the headings of a tab are checked.
    pub(crate) fn headings_interval(&self) -> Duration {
        self.headings_interval
    }

    /// The account whose calls Google counts.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// All tabs of a spreadsheet.
    pub(crate) async fn tabs(&self, spreadsheet: &str) -> ApiResponse<Vec<TabProperties>> {
        let mut delegate = CallDelegate::default();
        let call = self
            .hub
            .spreadsheets()
            .get(spreadsheet)
            .param("fields", "sheets.properties");
        let call = call
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut delegate)
            .doit();
        let response = tokio::time::timeout(self.timeout, call).await;
        delegate
            .classify(response)
            .map(|spreadsheet| read_tabs(&spreadsheet))
    }

    /// All checkpoints of a spreadsheet.
    pub(crate) async fn metadata(&self, spreadsheet: &str) -> ApiResponse<Vec<MetadataEntry>> {
        let lookup = DeveloperMetadataLookup {
            metadata_key: Some(METADATA_KEY.to_owned()),
            ..DeveloperMetadataLookup::default()
        };
        let filter = DataFilter {
            developer_metadata_lookup: Some(lookup),
            ..DataFilter::default()
        };
        let request = SearchDeveloperMetadataRequest {
            data_filters: Some(vec![filter]),
        };
        let mut delegate = CallDelegate::default();
        let call = self
            .hub
            .spreadsheets()
            .developer_metadata_search(request, spreadsheet);
        let call = call
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut delegate)
            .doit();
        let response = tokio::time::timeout(self.timeout, call).await;
        delegate.classify(response).map(|found| {
            let found = found
                .matched_developer_metadata
                .unwrap_or_default()
                .into_iter();
            found
                .filter_map(|matched| read_entry(matched.developer_metadata?))
                .collect()
        })
    }

    /// The texts of several ranges, each as a list of columns. Empty cells at the end of a column
    /// are left out.
    pub(crate) async fn columns(
        &self,
        spreadsheet: &str,
        ranges: &[String],
    ) -> ApiResponse<Vec<Vec<Vec<String>>>> {
        let mut delegate = CallDelegate::default();
        let call = self.hub.spreadsheets().values_batch_get(spreadsheet);
        let call = ranges
            .iter()
            .fold(call, |call, range| call.add_ranges(range));
        let call = call
            .major_dimension("COLUMNS")
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut delegate)
            .doit();
        let response = tokio::time::timeout(self.timeout, call).await;
        delegate.classify(response).map(|found| {
            let ranges = found.value_ranges.unwrap_or_default().into_iter();
            ranges.map(read_columns).collect()
        })
    }

    /// The texts of the first row of a tab.
    pub(crate) async fn headings(
        &self,
        spreadsheet: &str,
        title: &str,
    ) -> ApiResponse<Vec<String>> {
        let row = [format!("{}!1:1", quoted(title))];
        let read = self.columns(spreadsheet, &row).await;
        read.map(|ranges| {
            let columns = ranges.into_iter().flatten();
            columns
                .map(|cells| cells.into_iter().next().unwrap_or_default())
                .collect()
        })
    }

    /// Applies a batch, completely or not at all.
    pub(crate) async fn write(
        &self,
        spreadsheet: &str,
        request: BatchUpdateSpreadsheetRequest,
    ) -> ApiResponse<()> {
        let mut delegate = CallDelegate::default();
        let call = self.hub.spreadsheets().batch_update(request, spreadsheet);
        let call = call
            .add_scope(Scope::Spreadsheet)
            .delegate(&mut delegate)
            .doit();
        let response = tokio::time::timeout(self.timeout, call).await;
        delegate.classify(response).map(|_| ())
    }
}

impl std::fmt::Debug for SheetsApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SheetsApi")
            .field("timeout", &self.timeout)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Supports HTTP/1.1 for plain addresses, where the default connector of the crate would try
/// HTTP/2.
fn connector() -> HttpsConnector<HttpConnector> {
    HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_all_versions()
        .build()
}

fn read_tabs(spreadsheet: &Spreadsheet) -> Vec<TabProperties> {
    let sheets = spreadsheet
        .sheets
        .iter()
        .flatten()
        .filter_map(|sheet| sheet.properties.as_ref());
    let size = |count: Option<i32>| u64::from(count.unwrap_or_default().unsigned_abs());
    let tab = |sheet: &google_sheets4::api::SheetProperties| {
        let grid = sheet.grid_properties.clone().unwrap_or_default();
        let rows = size(grid.row_count);
        TabProperties {
            // Google's JSON leaves out zero values.
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

fn read_entry(found: google_sheets4::api::DeveloperMetadata) -> Option<MetadataEntry> {
    // Google's JSON leaves out zero values.
    let sheet_id = found.location?.sheet_id.unwrap_or_default();
    Some(MetadataEntry {
        id: found.metadata_id?,
        sheet_id,
        value: found.metadata_value.unwrap_or_default(),
    })
}

/// Checks the id of a spreadsheet. google-sheets4 puts it into the URL unchanged, and not every app
/// comes from a checked file.
pub(crate) fn check_spreadsheet_id(id: &str) -> Result<(), Error> {
    if is_spreadsheet_id(id) {
        return Ok(());
    }
    Err(Error::SpreadsheetId(id.to_owned()))
}

/// The title of a tab in A1 notation.
pub(crate) fn quoted(title: &str) -> String {
    format!("'{}'", title.replace('\'', "''"))
}

/// A mask of one field.
pub(crate) fn field(name: &str) -> Option<FieldMask> {
    Some(FieldMask::new(&[name]))
}

// === impl ApiResponse ===

impl<T> ApiResponse<T> {
    fn map<U>(self, done: impl FnOnce(T) -> U) -> ApiResponse<U> {
        match self {
            Self::Done(value) => ApiResponse::Done(done(value)),
            Self::RateLimited(wait) => ApiResponse::RateLimited(wait),
            Self::Rejected(why) => ApiResponse::Rejected(why),
            Self::Denied(why) => ApiResponse::Denied(why),
            Self::Unknown(why) => ApiResponse::Unknown(why),
        }
    }

    /// The value of the metric label `outcome`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::RateLimited(_) => "busy",
            Self::Rejected(_) => "refused",
            Self::Denied(_) => "denied",
            Self::Unknown(_) => "unknown",
        }
    }
}

// === CallDelegate ===

/// Records what the errors of google-sheets4 leave out: the status and the header `Retry-After`.
#[derive(Debug, Default)]
struct CallDelegate {
    status: Option<u16>,
    retry_after: Option<Duration>,
}

impl Delegate for CallDelegate {
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

impl CallDelegate {
    fn classify<T>(
        &self,
        response: Result<google_sheets4::Result<(Response, T)>, tokio::time::error::Elapsed>,
    ) -> ApiResponse<T> {
        let error = match response {
            Ok(Ok((_, value))) => return ApiResponse::Done(value),
            Ok(Err(error)) => error,
            Err(_) => return ApiResponse::Unknown("no response in time".to_owned()),
        };
        let why = describe(&error);
        match self.status {
            Some(400 | 413) => ApiResponse::Rejected(why),
            Some(401 | 403 | 404) => ApiResponse::Denied(why),
            Some(429) => ApiResponse::RateLimited(self.retry_after),
            _ if matches!(error, CallError::MissingToken(_)) => ApiResponse::Denied(why),
            // This includes a response that broke off after status 200.
            _ => ApiResponse::Unknown(why),
        }
    }
}

/// Google's error message, if there is one. Never the body of a response, which may contain
/// submissions.
fn describe(error: &CallError) -> String {
    match error {
        CallError::BadRequest(body) => {
            let message = body
                .pointer("/error/message")
                .and_then(serde_json::Value::as_str);
            message.unwrap_or("an error without a message").to_owned()
        }
        CallError::Failure(response) => format!("status {}", response.status()),
        CallError::HttpError(error) => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
        CallError::MissingToken(error) => format!("no access token: {error}"),
        CallError::JsonDecodeError(_, error) => format!("a response that is not JSON: {error}"),
        other => other.to_string().trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use google_sheets4::common::to_body;
    use serde_json::json;

    use super::*;

    /// What the error of a call means after a response with `status` and the header `Retry-After:
    /// 7`.
    fn classify(status: Option<u16>, error: CallError) -> ApiResponse<()> {
        let mut delegate = CallDelegate::default();
        if let Some(status) = status {
            let _ = delegate.http_failure(&response(status), None);
        }
        delegate.classify(Ok(Err(error)))
    }

    fn response(status: u16) -> Response {
        let response = hyper::Response::builder()
            .status(status)
            .header("retry-after", "7");
        response
            .body(to_body::<String>(None))
            .expect("a legal response")
    }

    fn bad_request(message: &str) -> CallError {
        CallError::BadRequest(json!({ "error": { "message": message } }))
    }

    #[test]
    fn the_status_tells_whether_the_call_was_applied() {
        let why = || "why".to_owned();
        assert_eq!(
            classify(Some(400), bad_request("why")),
            ApiResponse::Rejected(why())
        );
        assert_eq!(
            classify(Some(413), bad_request("why")),
            ApiResponse::Rejected(why())
        );
        for status in [401, 403, 404] {
            assert_eq!(
                classify(Some(status), bad_request("why")),
                ApiResponse::Denied(why())
            );
        }
        assert_eq!(
            classify(Some(429), bad_request("why")),
            ApiResponse::RateLimited(Some(Duration::from_secs(7)))
        );
        for status in [408, 409, 500, 502, 503, 504] {
            assert_eq!(
                classify(Some(status), bad_request("why")),
                ApiResponse::Unknown(why())
            );
        }
    }

    #[test]
    fn foreign_responses_leave_the_outcome_unknown() {
        let gateway = classify(Some(502), CallError::Failure(response(502)));
        assert_eq!(
            gateway,
            ApiResponse::Unknown("status 502 Bad Gateway".into())
        );
        let broken = serde_json::from_str::<()>("secret").expect_err("it is not JSON");
        let ApiResponse::Unknown(why) =
            classify(None, CallError::JsonDecodeError("secret".into(), broken))
        else {
            unreachable!("the outcome is unknown")
        };
        assert!(why.contains("not JSON") && !why.contains("secret"), "{why}");
        let odd = classify(Some(500), CallError::BadRequest(json!([])));
        assert_eq!(
            odd,
            ApiResponse::Unknown("an error without a message".into())
        );
        assert_eq!(
            classify(None, CallError::Cancelled),
            ApiResponse::Unknown("Operation cancelled by delegate".into())
        );
    }

    #[test]
    fn a_call_without_a_token_is_denied() {
        let denied = classify(None, CallError::MissingToken("expired".into()));
        assert_eq!(
            denied,
            ApiResponse::Denied("no access token: expired".into())
        );
    }
}
