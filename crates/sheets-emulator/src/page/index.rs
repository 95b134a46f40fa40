//! The page that lists all spreadsheets with their tabs.

use maud::{Markup, html};

use super::format::{count, path};
use crate::api_error::ApiError;
use crate::spreadsheet::Spreadsheet;
use crate::store::Snapshot;

/// Renders the list.
pub(super) fn show(snapshot: &Snapshot) -> Result<Markup, ApiError> {
    let spreadsheets = snapshot.spreadsheets()?;
    let mut cards = Vec::new();
    for (id, spreadsheet) in &spreadsheets {
        cards.push(card(snapshot, id, spreadsheet)?);
    }
    Ok(html! {
        div.index {
            h1 { "Spreadsheets" }
            @if cards.is_empty() {
                div.empty { p { "There are no spreadsheets yet. Send a submission, and its sheet appears here." } }
            }
            div.cards { @for card in &cards { (card) } }
        }
    })
}

fn card(snapshot: &Snapshot, id: &str, spreadsheet: &Spreadsheet) -> Result<Markup, ApiError> {
    let mut tabs = Vec::new();
    for sheet in &spreadsheet.sheets {
        tabs.push((sheet, snapshot.used_rows(id, sheet.id)?));
    }
    Ok(html! {
        section.card {
            h2 { a href=(path(id, None)) { (spreadsheet.title) } }
            ul {
                @for (sheet, rows) in &tabs {
                    li {
                        a href=(path(id, Some(&sheet.title))) { (sheet.title) }
                        span.count { (count(*rows, "row")) }
                    }
                }
            }
            @if *id != spreadsheet.title { p.id { (id) } }
        }
    })
}
