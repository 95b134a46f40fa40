//! The handlers of the pages. Cells are untrusted text: everything is escaped, and the policy
//! allows only the emulator's own script.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};

use crate::api::Api;
use crate::api_error::ApiError;
use crate::store::Snapshot;

use super::{index, tab};

/// The Content-Security-Policy of the pages.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the pages.
pub(crate) fn routes() -> Router<Arc<Api>> {
    let style = (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("page.css"),
    );
    let script = (
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")],
        include_str!("page.js"),
    );
    Router::new()
        .route("/", get(index_page))
        .route("/spreadsheets/{id}", get(first_tab_page))
        .route("/spreadsheets/{id}/{tab}", get(tab_page))
        .route("/assets/page.css", get(move || async move { style }))
        .route("/assets/page.js", get(move || async move { script }))
}

async fn index_page(State(api): State<Arc<Api>>, query: RawQuery) -> Result<Response, ApiError> {
    let work = move |snapshot: &Snapshot| Ok(Some(("Sheets".to_owned(), index::show(snapshot)?)));
    page(api, &query, work).await
}

async fn first_tab_page(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: RawQuery,
) -> Result<Response, ApiError> {
    let end = end_of(&query);
    page(api, &query, move |snapshot| {
        tab::show(snapshot, &id, None, end)
    })
    .await
}

async fn tab_page(
    State(api): State<Arc<Api>>,
    Path((id, title)): Path<(String, String)>,
    query: RawQuery,
) -> Result<Response, ApiError> {
    let end = end_of(&query);
    page(api, &query, move |snapshot| {
        tab::show(snapshot, &id, Some(&title), end)
    })
    .await
}

/// The row in `?end=`, up to which the page shows rows; without it, the page ends with the last
/// row.
fn end_of(query: &RawQuery) -> Option<u32> {
    let query = query.0.as_deref().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "end")?
        .1
        .parse()
        .ok()
}

/// Responds with a complete page, or with `?fragment` only with the part that the script replaces.
async fn page(
    api: Arc<Api>,
    query: &RawQuery,
    work: impl FnOnce(&Snapshot) -> Result<Option<(String, Markup)>, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let fragment = query
        .0
        .as_deref()
        .unwrap_or_default()
        .split('&')
        .any(|part| part == "fragment");
    let tasks = api.tasks.clone();
    let found = tasks
        .spawn_blocking(move || work(&api.store.read()?))
        .await??;
    let (status, title, content) = match found {
        Some((title, content)) => (StatusCode::OK, title, content),
        None => (StatusCode::NOT_FOUND, "Not found".to_owned(), not_found()),
    };
    let html = if fragment {
        content
    } else {
        document(&title, &content)
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((status, headers, html.into_string()).into_response())
}

fn document(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Formline sheets" }
                link rel="stylesheet" href="/assets/page.css";
                script src="/assets/page.js" defer {}
            }
            body {
                header {
                    a.brand href="/" { span.mark {} "Formline sheets" }
                    span #live .live title="Updated once a second" { "live" }
                }
                main #content { (content) }
            }
        }
    }
}

fn not_found() -> Markup {
    html! {
        div.empty {
            h1 { "Sheet not found" }
            p { "No rows have been written to this sheet yet. " a href="/" { "Show all sheets" } }
        }
    }
}
