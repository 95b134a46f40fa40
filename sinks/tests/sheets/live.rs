//! What only Google itself can prove. Runs if `FORMLINE_LIVE_SHEET` names a spreadsheet that is
//! shared with the service account of `GOOGLE_APPLICATION_CREDENTIALS`. Creates its own tabs there
//! and deletes them.

use formline_sinks::Google;
use formline_testing::{eventually, unique};
use google_sheets4::{
    Sheets,
    hyper_util::{
        client::legacy::{Client, connect::HttpConnector},
        rt::TokioExecutor,
    },
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use serde_json::{Value, json};
use yup_oauth2::{ServiceAccountAuthenticator, client::CustomHyperClientBuilder};

use crate::pipeline::{DEADLINE, Pipeline, any_cells, now};

/// The spreadsheet and the key file.
struct Live {
    spreadsheet: String,
    key_file: String,
    hub: Sheets<HttpsConnector<HttpConnector>>,
}

fn connector() -> HttpsConnector<HttpConnector> {
    let builder = HttpsConnectorBuilder::new().with_webpki_roots();
    builder.https_only().enable_all_versions().build()
}

/// `None`, with a note in the output, if no account is configured.
async fn live() -> Option<Live> {
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(spreadsheet), Some(key_file)) = (
        given("FORMLINE_LIVE_SHEET"),
        given("GOOGLE_APPLICATION_CREDENTIALS"),
    ) else {
        println!(
            "skipped the tests against Google: set FORMLINE_LIVE_SHEET to the id of a spreadsheet and GOOGLE_APPLICATION_CREDENTIALS to a key file"
        );
        return None;
    };
    let key = yup_oauth2::read_service_account_key(&key_file)
        .await
        .unwrap();
    let tokens = Client::builder(TokioExecutor::new()).build(connector());
    let tokens = CustomHyperClientBuilder::from(tokens);
    let account = ServiceAccountAuthenticator::with_client(key, tokens);
    let account = account.build().await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build(connector());
    Some(Live {
        spreadsheet,
        key_file,
        hub: Sheets::new(client, account),
    })
}

impl Live {
    async fn batch(&self, requests: Value) -> Result<(), google_sheets4::Error> {
        let body = serde_json::from_value(json!({ "requests": requests })).unwrap();
        let call = self
            .hub
            .spreadsheets()
            .batch_update(body, &self.spreadsheet);
        call.doit().await.map(|_| ())
    }

    /// The id of the tab with this title.
    async fn tab(&self, title: &str) -> Option<i32> {
        let call = self.hub.spreadsheets().get(&self.spreadsheet);
        let (_, spreadsheet) = call.doit().await.unwrap();
        let tabs = spreadsheet.sheets.unwrap_or_default().into_iter();
        let properties = tabs.filter_map(|tab| tab.properties);
        let mut ours = properties.filter(|tab| tab.title.as_deref() == Some(title));
        ours.next().and_then(|tab| tab.sheet_id)
    }

    async fn column(&self, title: &str) -> Vec<Value> {
        let range = format!("{title}!A2:A");
        let call = self
            .hub
            .spreadsheets()
            .values_get(&self.spreadsheet, &range);
        let (_, found) = call.doit().await.unwrap();
        found
            .values
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .collect()
    }
}

#[tokio::test]
async fn google_rejects_a_batch_with_a_metadata_id_that_exists() {
    let Some(live) = live().await else { return };
    let title = unique("probe");
    live.batch(json!([{ "addSheet": { "properties": { "title": title } } }]))
        .await
        .unwrap();
    let sheet = live.tab(&title).await.unwrap();
    let id = i32::try_from(now().as_millisecond() & 0x3fff_ffff).unwrap();
    let checkpoint = json!({ "createDeveloperMetadata": { "developerMetadata": {
        "metadataId": id, "metadataKey": "formline-probe", "metadataValue": "1",
        "visibility": "DOCUMENT", "location": { "sheetId": sheet },
    } } });
    let row = |text: &str| {
        let cell = json!({ "userEnteredValue": { "stringValue": text } });
        let rows = json!([{ "values": [cell] }]);
        json!({ "appendCells": { "sheetId": sheet, "rows": rows, "fields": "userEnteredValue" } })
    };
    let first = live
        .batch(json!([row("heading"), row("first"), checkpoint]))
        .await;
    // The row precedes the rejected request, and still must not be written.
    let second = live.batch(json!([row("second"), checkpoint])).await;
    let found = live.column(&title).await;
    live.batch(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await
        .unwrap();
    first.unwrap();
    let is_rejected = matches!(&second, Err(google_sheets4::Error::BadRequest(body)) if body["error"]["code"] == 400);
    assert!(is_rejected, "{second:?}");
    assert_eq!(
        found,
        ["first"],
        "a batch is applied completely or not at all"
    );
}

#[tokio::test]
async fn a_sink_writes_to_google() {
    let Some(live) = live().await else { return };
    let mut pipeline = Pipeline::new().await;
    pipeline.google = Google::ServiceAccount {
        key_file: (&live.key_file).into(),
        base_url: None,
    };
    pipeline.settings.spreadsheet = live.spreadsheet.clone();
    pipeline.settings.tab = unique("live");
    let running = pipeline.start();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(pipeline.submit(now(), any_cells()).await);
    }
    pipeline.expect_committed().await;
    running.stop().await;
    // A second process continues after the first.
    let running = pipeline.start();
    ids.push(pipeline.submit(now(), any_cells()).await);
    eventually(DEADLINE, async || {
        let found = live.column(&pipeline.settings.tab).await;
        if found == ids {
            Ok(())
        } else {
            Err(format!("{} rows", found.len()))
        }
    })
    .await;
    running.stop().await;
    let sheet = live.tab(&pipeline.settings.tab).await.unwrap();
    live.batch(json!([{ "deleteSheet": { "sheetId": sheet } }]))
        .await
        .unwrap();
}
