//! The words of the tests: an emulator that runs, and what one does with it.

use std::path::Path;
use std::time::Duration;

use formline_sheets_emulator::{Emulator, Options, Quota};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes this long on a healthy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A spreadsheet that every test finds new.
pub(crate) const ID: &str = "student-data";

/// An emulator with a folder of its own.
pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

impl Server {
    /// Starts without quotas, on a folder that goes away with the test.
    pub(crate) async fn start() -> (Self, TempDir) {
        let folder = folder();
        (Self::start_in(folder.path(), None).await, folder)
    }

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
        // A proxy from the environment is no way to the loopback interface.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(SOON)
            .build()
            .unwrap();
        Self {
            base,
            http,
            stop,
            serving,
        }
    }

    /// Stops it as `formline` does, so that its file is free again.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.serving)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.http.get(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.http.put(format!("{}{path}", self.base)).json(body)).await
    }

    /// One `batchUpdate` on `ID`.
    pub(crate) async fn batch(&self, requests: Value) -> Answer {
        self.post(
            &format!("/v4/spreadsheets/{ID}:batchUpdate"),
            &json!({ "requests": requests }),
        )
        .await
    }

    /// A range of `ID` as a person sees it.
    pub(crate) async fn values(&self, range: &str) -> Value {
        let answer = self
            .get(&format!("/v4/spreadsheets/{ID}/values/{range}"))
            .await
            .ok();
        answer.get("values").cloned().unwrap_or_else(|| json!([]))
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

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The message of a 400, which must say so in Google's form.
    #[track_caller]
    pub(crate) fn invalid(self) -> String {
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(self.body["error"]["code"], 400);
        assert_eq!(self.body["error"]["status"], "INVALID_ARGUMENT");
        self.body["error"]["message"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

// === requests of a batch ===

/// Appends rows of texts to a tab.
pub(crate) fn append(sheet: i32, rows: &[&[&str]]) -> Value {
    let cell = |text: &&str| json!({ "userEnteredValue": { "stringValue": text } });
    let row = |row: &&[&str]| json!({ "values": row.iter().map(cell).collect::<Vec<_>>() });
    let rows: Vec<Value> = rows.iter().map(row).collect();
    json!({ "appendCells": { "sheetId": sheet, "rows": rows, "fields": "userEnteredValue" } })
}

/// Marks the position of a tab, as the sink does.
pub(crate) fn mark(id: i32, sheet: i32, value: &str) -> Value {
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
