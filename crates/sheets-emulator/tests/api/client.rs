//! The client library of the sheets sink, google-sheets4, with its own HTTP client and
//! authentication.

use formline_sheets_emulator::Quota;
use google_sheets4::api::{
    AppendCellsRequest, BatchUpdateSpreadsheetRequest, CellData, CreateDeveloperMetadataRequest,
    DataFilter, DeveloperMetadata, DeveloperMetadataLocation, DeveloperMetadataLookup,
    ExtendedValue, Request, RowData, SearchDeveloperMetadataRequest,
};
use google_sheets4::common::{GetToken, NoToken};
use google_sheets4::hyper_util::client::legacy::{Client, connect::HttpConnector};
use google_sheets4::hyper_util::rt::TokioExecutor;
use google_sheets4::{Error, FieldMask, Sheets};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use yup_oauth2::{ServiceAccountAuthenticator, client::CustomHyperClientBuilder};

use crate::harness::{ID, Server, folder};

type Connector = HttpsConnector<HttpConnector>;

/// A connector for plain HTTP, which needs `https_or_http` and HTTP/1; otherwise the client uses
/// HTTP/2.
fn connector() -> Connector {
    let builder = HttpsConnectorBuilder::new().with_webpki_roots();
    builder.https_or_http().enable_all_versions().build()
}

fn hub(server: &Server, auth: impl GetToken + 'static) -> Sheets<Connector> {
    let client = Client::builder(TokioExecutor::new()).build(connector());
    let mut hub = Sheets::new(client, auth);
    hub.base_url(format!("{}/", server.base));
    hub.root_url(format!("{}/", server.base));
    hub
}

fn text(text: &str) -> CellData {
    let value = ExtendedValue {
        string_value: Some(text.to_owned()),
        ..Default::default()
    };
    CellData {
        user_entered_value: Some(value),
        ..Default::default()
    }
}

/// A row and its checkpoint, like a batch of the sink.
fn batch() -> BatchUpdateSpreadsheetRequest {
    let entry = DeveloperMetadata {
        metadata_id: Some(1),
        metadata_key: Some("formline".to_owned()),
        metadata_value: Some("{\"rows\":1}".to_owned()),
        location: Some(DeveloperMetadataLocation {
            sheet_id: Some(0),
            ..Default::default()
        }),
        visibility: Some("DOCUMENT".to_owned()),
    };
    let checkpoint = CreateDeveloperMetadataRequest {
        developer_metadata: Some(entry),
    };
    let row = RowData {
        values: Some(vec![text("7"), CellData::default(), text("Ada")]),
    };
    let append = AppendCellsRequest {
        sheet_id: Some(0),
        rows: Some(vec![row]),
        fields: Some(FieldMask::new(&["userEnteredValue"])),
        ..Default::default()
    };
    let requests = vec![
        Request {
            create_developer_metadata: Some(checkpoint),
            ..Default::default()
        },
        Request {
            append_cells: Some(append),
            ..Default::default()
        },
    ];
    BatchUpdateSpreadsheetRequest {
        requests: Some(requests),
        ..Default::default()
    }
}

async fn write(hub: &Sheets<Connector>) -> Result<usize, Error> {
    let (_, response) = hub.spreadsheets().batch_update(batch(), ID).doit().await?;
    Ok(response.replies.unwrap_or_default().len())
}

#[tokio::test]
async fn the_client_writes_searches_and_reads() {
    let (server, _folder) = Server::start().await;
    let hub = hub(&server, NoToken);
    assert_eq!(write(&hub).await.unwrap(), 2);

    let lookup = DeveloperMetadataLookup {
        metadata_key: Some("formline".to_owned()),
        ..Default::default()
    };
    let filter = DataFilter {
        developer_metadata_lookup: Some(lookup),
        ..Default::default()
    };
    let search = SearchDeveloperMetadataRequest {
        data_filters: Some(vec![filter]),
    };
    let (_, found) = hub
        .spreadsheets()
        .developer_metadata_search(search, ID)
        .doit()
        .await
        .unwrap();
    let matched = found.matched_developer_metadata.unwrap();
    let entry = matched[0].developer_metadata.as_ref().unwrap();
    assert_eq!(entry.metadata_id, Some(1));
    assert_eq!(entry.metadata_value.as_deref(), Some("{\"rows\":1}"));

    let (_, read) = hub
        .spreadsheets()
        .values_get(ID, "Sheet1!A1:C1")
        .doit()
        .await
        .unwrap();
    assert_eq!(read.values.unwrap(), [["7", "", "Ada"]]);
    let (_, shown) = hub
        .spreadsheets()
        .get(ID)
        .param("fields", "sheets.properties")
        .doit()
        .await
        .unwrap();
    assert_eq!(
        shown.sheets.unwrap()[0]
            .properties
            .as_ref()
            .unwrap()
            .sheet_id,
        Some(0)
    );
}

#[tokio::test]
async fn the_client_understands_the_errors() {
    let (server, _folder) = Server::start().await;
    let hub = hub(&server, NoToken);
    write(&hub).await.unwrap();
    match write(&hub).await {
        Err(Error::BadRequest(body)) => assert_eq!(body["error"]["status"], "INVALID_ARGUMENT"),
        other => panic!("{other:?}"),
    }
    // The write was applied, but the client only reports that it cannot read the response.
    server.batch(serde_json::json!([{ "deleteDeveloperMetadata": { "dataFilter": { "developerMetadataLookup": {} } } }])).await.ok();
    server
        .plan_faults(serde_json::json!([{ "kind": "apply_then_cut" }]))
        .await;
    let outcome = write(&hub).await;
    assert!(
        matches!(
            outcome,
            Err(Error::JsonDecodeError(..) | Error::HttpError(_))
        ),
        "{outcome:?}"
    );
    assert_eq!(server.metadata_ids().await, [1]);
}

#[tokio::test]
async fn an_unknown_token_is_rejected() {
    let (server, _folder) = Server::start().await;
    let outcome = write(&hub(&server, "ya29.foreign".to_owned())).await;
    match outcome {
        Err(Error::BadRequest(body)) => assert_eq!(body["error"]["code"], 401),
        other => panic!("{other:?}"),
    }
}

/// The complete authentication of a service account: signature, token endpoint, and the account's
/// own quota.
#[tokio::test]
async fn a_service_account_authenticates() {
    let folder = folder();
    let quota = Quota {
        writes_per_minute: 1,
        reads_per_minute: 10,
    };
    let server = Server::start_in(folder.path(), Some(quota)).await;
    let mut key =
        yup_oauth2::parse_service_account_key(include_str!("service-account.json")).unwrap();
    key.token_uri = format!("{}/token", server.base);
    let client =
        CustomHyperClientBuilder::from(Client::builder(TokioExecutor::new()).build(connector()));
    let account = ServiceAccountAuthenticator::with_client(key, client)
        .build()
        .await
        .unwrap();
    write(&hub(&server, account)).await.unwrap();
    // The quota of the account is exhausted, but not the quota of anonymous users.
    assert_eq!(
        server
            .batch(serde_json::json!([{ "addSheet": {} }]))
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .batch(serde_json::json!([{ "addSheet": {} }]))
            .await
            .status,
        429
    );
}
