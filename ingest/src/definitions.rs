//! Documents that do not change while the process runs: the forms, their schemas and the OpenAPI description.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use formline_core::app::Form;
use serde_json::{Value, json};

use crate::keys::fingerprint;

/// A document, written once.
#[derive(Debug)]
pub(crate) struct Document {
    body: Bytes,
    media_type: &'static str,
    etag: HeaderValue,
}

/// Media type of JSON Schemas.
pub(crate) const SCHEMA: &str = "application/schema+json";

/// The address of a form's schema, which is the `ce_dataschema` of its records.
pub(crate) fn schema_path(form: &str) -> String {
    format!("/v1/forms/{form}/schema")
}

/// All forms, as `/v1/forms` shows them.
pub(crate) fn list(forms: &[Arc<Form>]) -> Value {
    let forms: Vec<Value> = forms.iter().map(|form| summary(form)).collect();
    json!({ "forms": forms })
}

/// One form, as `/v1/forms/{name}` shows it.
pub(crate) fn definition(form: &Form) -> Value {
    let mut definition = summary(form);
    definition["schema"] = form.schema.source().clone();
    definition
}

fn summary(form: &Form) -> Value {
    json!({
        "app": form.app,
        "name": form.name,
        "path": form.path,
        "submissions": format!("/v1/forms/{}/submissions", form.name),
        "dataschema": schema_path(&form.name),
    })
}

// === impl Document ===

impl Document {
    /// Writes a document.
    pub(crate) fn new(media_type: &'static str, content: &Value) -> Arc<Self> {
        let body = Bytes::from(content.to_string());
        let etag = format!("\"{}\"", &fingerprint(&body)[..32]);
        let etag = HeaderValue::from_str(&etag).expect("hexadecimal digits in quotes");
        Arc::new(Self {
            body,
            media_type,
            etag,
        })
    }

    /// Answers GET: the document, or 304 if the client has it.
    pub(crate) async fn get(State(document): State<Arc<Self>>, headers: HeaderMap) -> Response {
        let etag = document.etag.clone();
        let always = [
            (header::ETAG, etag),
            // Deployments change it, so caches ask each time; the answer is then a 304 without a body.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            ),
        ];
        if document.is_known(&headers) {
            return (StatusCode::NOT_MODIFIED, always).into_response();
        }
        let media_type = [(header::CONTENT_TYPE, document.media_type)];
        (always, media_type, Body::from(document.body.clone())).into_response()
    }

    /// Whether `If-None-Match` names it (RFC 9110, 13.1.2).
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(header::IF_NONE_MATCH).iter();
        let mut tags = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        tags.any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes()
        })
    }
}
