//! The pages: a list of all spreadsheets, and one page per tab that shows its newest rows and follows
//! what is written. Cells are untrusted text: everything is escaped, and only our own script may run.

mod index;
mod tab;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};

use super::api::Api;
use super::refusal::Refusal;
use super::store::Snapshot;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the pages.
pub(super) fn routes() -> Router<Arc<Api>> {
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

// === requests ===

async fn index_page(State(api): State<Arc<Api>>, query: RawQuery) -> Result<Response, Refusal> {
    let work = move |snapshot: &Snapshot| Ok(Some(("Sheets".to_owned(), index::show(snapshot)?)));
    page(api, &query, work).await
}

async fn first_tab_page(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: RawQuery,
) -> Result<Response, Refusal> {
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
) -> Result<Response, Refusal> {
    let end = end_of(&query);
    page(api, &query, move |snapshot| {
        tab::show(snapshot, &id, Some(&title), end)
    })
    .await
}

/// `?end=500` shows the rows up to that one; without it, up to the last.
fn end_of(query: &RawQuery) -> Option<u32> {
    let query = query.0.as_deref().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "end")?
        .1
        .parse()
        .ok()
}

/// Answers with the whole page, or with `?fragment` only with what the script replaces.
async fn page(
    api: Arc<Api>,
    query: &RawQuery,
    work: impl FnOnce(&Snapshot) -> Result<Option<(String, Markup)>, Refusal> + Send + 'static,
) -> Result<Response, Refusal> {
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

// === markup ===

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
                    span #live .live title="Follows what is written, once a second" { "live" }
                }
                main #content { (content) }
            }
        }
    }
}

fn not_found() -> Markup {
    html! {
        div.empty {
            h1 { "There is no such sheet" }
            p { "Nothing was written to it yet. " a href="/" { "See all sheets" } }
        }
    }
}

/// A path whose parts are written so that any title fits into one segment.
fn path(id: &str, tab: Option<&str>) -> String {
    let mut path = format!("/spreadsheets/{id}");
    let Some(title) = tab else { return path };
    path.push('/');
    for byte in title.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

fn count(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// 1234567 as `1,234,567`.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_title_fits_into_a_path() {
        assert_eq!(path("a-b", None), "/spreadsheets/a-b");
        assert_eq!(
            path("a-b", Some("Responses")),
            "/spreadsheets/a-b/Responses"
        );
        assert_eq!(
            path("x", Some("a/b ?#ä.")),
            "/spreadsheets/x/a%2Fb%20%3F%23%C3%A4%2E"
        );
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(999, "row"), "999 rows");
        assert_eq!(count(1_234_567, "row"), "1,234,567 rows");
    }
}
