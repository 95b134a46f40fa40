//! The emulated spreadsheet: its content, changes by users, and faults.

use formline_testing::eventually;
use serde_json::{Value, json};

use crate::pipeline::{DEADLINE, Pipeline, TAB};

impl Pipeline {
    /// All rows below the heading, as Google shows them.
    pub(crate) async fn sheet(&self) -> Vec<Vec<Value>> {
        let mut rows = self.grid().await;
        if !rows.is_empty() {
            rows.remove(0);
        }
        rows
    }

    /// The whole tab, or nothing if there is no tab.
    pub(crate) async fn grid(&self) -> Vec<Vec<Value>> {
        let path = format!("/values/{TAB}!A1:ZZ9999?valueRenderOption=UNFORMATTED_VALUE");
        let response: Value = self.get(&path).await;
        serde_json::from_value(response["values"].clone()).unwrap_or_default()
    }

    pub(crate) async fn ids(&self) -> Vec<String> {
        let ids = self
            .sheet()
            .await
            .into_iter()
            .map(|row| row[0].as_str().unwrap().to_owned());
        ids.collect()
    }

    /// The ids without the empty rows that users insert.
    pub(crate) async fn filled_ids(&self) -> Vec<String> {
        let rows = self.sheet().await.into_iter();
        let id = |row: Vec<Value>| Some(row.first()?.as_str()?.to_owned());
        rows.filter_map(id).filter(|id| !id.is_empty()).collect()
    }

    /// Waits until the sheet holds exactly these submissions in this order.
    pub(crate) async fn expect(&self, ids: &[String]) {
        eventually(DEADLINE, async || {
            let found = self.ids().await;
            if found.len() >= ids.len() {
                Ok(())
            } else {
                Err(format!("{} rows", found.len()))
            }
        })
        .await;
        assert_eq!(self.ids().await, ids);
    }

    /// The submissions in the tab of a spreadsheet.
    pub(crate) async fn ids_in(&self, spreadsheet: &str) -> Vec<String> {
        let response = self
            .get_in(spreadsheet, &format!("/values/{TAB}!A2:A9999"))
            .await;
        let rows: Vec<[String; 1]> =
            serde_json::from_value(response["values"].clone()).unwrap_or_default();
        rows.into_iter().flatten().collect()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.get_in(&self.settings.spreadsheet, path).await
    }

    async fn get_in(&self, spreadsheet: &str, path: &str) -> Value {
        let url = format!(
            "{}v4/spreadsheets/{spreadsheet}{path}",
            self.google_server.base
        );
        self.google_server
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Changes the spreadsheet as a user would.
    pub(crate) async fn change(&self, requests: Value) {
        let url = format!(
            "{}admin/spreadsheets/{}",
            self.google_server.base, self.settings.spreadsheet
        );
        let body = json!({ "requests": requests });
        let response = self
            .google_server
            .http
            .post(url)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    }

    /// The properties of the tab.
    pub(crate) async fn tab(&self) -> Value {
        let spreadsheet = self.get("").await;
        let sheets = spreadsheet["sheets"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ours = |sheet: &Value| sheet["properties"]["title"] == TAB;
        sheets.into_iter().find(ours).unwrap_or_default()["properties"].clone()
    }

    /// Injects faults into the next calls.
    pub(crate) async fn inject_faults(&self, faults: Value) {
        let url = format!("{}admin/faults", self.google_server.base);
        let response = self
            .google_server
            .http
            .post(url)
            .json(&faults)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    }

    /// The number of faults that no call has hit yet.
    pub(crate) async fn pending_faults(&self) -> usize {
        let url = format!("{}admin/faults", self.google_server.base);
        let response: Value = self
            .google_server
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let faults = response
            .as_array()
            .or_else(|| response["faults"].as_array());
        faults
            .unwrap_or_else(|| panic!("no list: {response}"))
            .len()
    }

    /// The JSON of the newest checkpoint.
    pub(crate) async fn newest_checkpoint(&self) -> String {
        let url = format!(
            "{}v4/spreadsheets/{}/developerMetadata:search",
            self.google_server.base, self.settings.spreadsheet
        );
        let body = json!({ "dataFilters": [{ "developerMetadataLookup": { "metadataKey": "formline" } }] });
        let response: Value = self
            .google_server
            .http
            .post(url)
            .json(&body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let found = response["matchedDeveloperMetadata"].as_array().unwrap();
        let checkpoints = found.iter().map(|matched| &matched["developerMetadata"]);
        let newest = checkpoints
            .max_by_key(|checkpoint| checkpoint["metadataId"].as_i64())
            .unwrap();
        newest["metadataValue"].as_str().unwrap().to_owned()
    }
}
