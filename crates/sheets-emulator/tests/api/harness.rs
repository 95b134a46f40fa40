//! The test harness: a running emulator and requests to it.

use std::path::Path;
use std::time::Duration;

use formline_sheets_emulator::{Emulator, Options, Quota};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long to wait for a response or a condition.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The id of the spreadsheet, which is empty at the start of each test.
pub(crate) const ID: &str = "student-data";

/// A running emulator.
pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

impl Server {
    /// Starts an emulator without quotas in a temporary folder.
    pub(crate) async fn start() -> (Self, TempDir) {
        let folder = folder();
        (Self::start_in(folder.path(), None).await, folder)
    }

    /// Starts an emulator in a folder.
    pub(crate) async fn start_in(data: &Path, quota: Option<Quota>) -> Self {
        let emulator = Emulator::open(Options {
            data: data.to_owned(),
            quota,
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let serving =
            tokio::spawn(async move { emulator.serve(listener, shutdown).await.unwrap() });
        // A proxy from the environment cannot reach the loopback interface.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .unwrap();
        Self {
            base,
            http,
            stop,
            serving,
        }
    }

    /// Stops the emulator like `formline` does, which closes its file.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(TIMEOUT, self.serving)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        send(self.http.get(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        send(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        send(self.http.put(format!("{}{path}", self.base)).json(body)).await
    }

    /// Sends one `batchUpdate` for `ID`.
    pub(crate) async fn batch(&self, requests: Value) -> Reply {
        self.post(
            &format!("/v4/spreadsheets/{ID}:batchUpdate"),
            &json!({ "requests": requests }),
        )
        .await
    }

    /// The formatted values of a range of `ID`.
    pub(crate) async fn values(&self, range: &str) -> Value {
        let response = self
            .get(&format!("/v4/spreadsheets/{ID}/values/{range}"))
            .await
            .ok();
        response.get("values").cloned().unwrap_or_else(|| json!([]))
    }

    /// The ids of all developer metadata of `ID`.
    pub(crate) async fn metadata_ids(&self) -> Vec<i64> {
        let everything = json!({ "dataFilters": [{ "developerMetadataLookup": {} }] });
        let found = self
            .post(
                &format!("/v4/spreadsheets/{ID}/developerMetadata:search"),
                &everything,
            )
            .await
            .ok();
        let entries = found["matchedDeveloperMetadata"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        entries
            .iter()
            .map(|entry| entry["developerMetadata"]["metadataId"].as_i64().unwrap())
            .collect()
    }

    pub(crate) async fn plan_faults(&self, faults: Value) {
        self.post("/admin/faults", &faults).await.ok();
    }
}

impl Reply {
    /// The body of a successful response.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The message of a response 400 in Google's format.
    #[track_caller]
    pub(crate) fn invalid(self) -> String {
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(self.body["error"]["code"], 400);
        assert_eq!(self.body["error"]["status"], "INVALID_ARGUMENT");
        self.body["error"]["message"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    Reply {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// A request that appends rows of texts to a tab.
pub(crate) fn append(sheet: i32, rows: &[&[&str]]) -> Value {
    let cell = |text: &&str| json!({ "userEnteredValue": { "stringValue": text } });
    let row = |row: &&[&str]| json!({ "values": row.iter().map(cell).collect::<Vec<_>>() });
    let rows: Vec<Value> = rows.iter().map(row).collect();
    json!({ "appendCells": { "sheetId": sheet, "rows": rows, "fields": "userEnteredValue" } })
}

/// A request that creates a checkpoint of a tab, like the sink.
pub(crate) fn checkpoint(id: i32, sheet: i32, value: &str) -> Value {
    json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": id,
        "metadataKey": "formline",
        "metadataValue": value,
        "location": { "sheetId": sheet },
        "visibility": "DOCUMENT",
    } } })
}

pub(crate) fn add_sheet(id: i32, title: &str) -> Value {
    json!({ "addSheet": { "properties": { "sheetId": id, "title": title } } })
}
