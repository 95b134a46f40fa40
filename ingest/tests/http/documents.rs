//! The documents that describe the forms.

use formline_ingest::Limits;
use reqwest::StatusCode;
use serde_json::Value;

use super::harness::{Ingest, TestApp, schema};

#[tokio::test]
async fn forms_are_listed_and_described_with_their_schema() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let get = async |path: &str| {
        ingest
            .get(path)
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap()
    };
    let listed = get("/v1/forms").await;
    assert_eq!(listed["forms"][0]["name"], "student");
    assert_eq!(
        listed["forms"][0]["submissions"],
        "/v1/forms/student/submissions"
    );
    assert_eq!(get("/v1/forms/student").await["schema"], schema());
    assert_eq!(
        get(listed["forms"][0]["dataschema"].as_str().unwrap()).await,
        schema()
    );
}

#[tokio::test]
async fn an_unchanged_document_is_not_sent_again() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    for path in [
        "/v1/forms",
        "/v1/forms/student",
        "/v1/forms/student/schema",
        "/openapi.json",
    ] {
        let first = ingest.get(path).send().await.unwrap();
        let etag = first.headers()["etag"].clone();
        let known = ingest
            .get(path)
            .header("if-none-match", &etag)
            .send()
            .await
            .unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(known.headers()["etag"], etag);
        let other = ingest
            .get(path)
            .header("if-none-match", "\"other\"")
            .send()
            .await
            .unwrap();
        assert_eq!(other.status(), StatusCode::OK);
    }
}
