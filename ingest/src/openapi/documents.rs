//! Documents that do not change while the process runs: the forms, their schemas and the OpenAPI
//! description. Each is serialized once and served with an `ETag`.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use formline_core::app::Form;
use serde_json::{Value, json};

use super::paths::{schema_path, submissions_path};
use crate::digest::sha256_hex;

/// A serialized document.
#[derive(Debug)]
pub(crate) struct Document {
    body: Bytes,
    media_type: &'static str,
    etag: HeaderValue,
}

/// All forms, as `/v1/forms` returns them.
pub(crate) fn list(forms: &[Arc<Form>]) -> Value {
    let forms: Vec<Value> = forms.iter().map(|form| summary(form)).collect();
    json!({ "forms": forms })
}

/// One form, as `/v1/forms/{name}` returns it.
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
        "submissions": submissions_path(&form.name),
        "dataschema": schema_path(&form.name),
    })
}

// === impl Document ===

impl Document {
    /// Serializes a document.
    pub(crate) fn new(media_type: &'static str, content: &Value) -> Arc<Self> {
        let body = Bytes::from(content.to_string());
        let etag = format!("\"{}\"", &sha256_hex(&body)[..32]);
        let etag = HeaderValue::from_str(&etag).expect("quoted hexadecimal digits are valid");
        Arc::new(Self {
            body,
            media_type,
            etag,
        })
    }

    /// Responds to GET with the document, or with 304 if the client has it.
    pub(crate) async fn get(State(document): State<Arc<Self>>, headers: HeaderMap) -> Response {
        let etag = document.etag.clone();
        let common = [
            (header::ETAG, etag),
            // A deployment may change the document, so caches revalidate each time and get a 304
            // without a body.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            ),
        ];
        if document.matches(&headers) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let media_type = [(header::CONTENT_TYPE, document.media_type)];
        (common, media_type, Body::from(document.body.clone())).into_response()
    }

    /// Whether `If-None-Match` contains the document's `ETag` (RFC 9110, 13.1.2).
    fn matches(&self, headers: &HeaderMap) -> bool {
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
