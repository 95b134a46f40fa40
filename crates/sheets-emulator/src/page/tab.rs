//! The page of a tab: its frozen rows, and one page of the other rows.

use maud::{Markup, html};

use super::format::{count, grouped, path};
use crate::a1::column_letters;
use crate::api_error::ApiError;
use crate::cell::{Cell, EnteredValue, Row};
use crate::sheet::Sheet;
use crate::spreadsheet::Spreadsheet;
use crate::store::Snapshot;

/// The number of rows on one page.
const PAGE_ROWS: u32 = 500;
/// Maximum number of frozen rows on a page.
const MAX_FROZEN_ROWS: u32 = 10;
/// Minimum number of columns, even if they are empty, so that a new sheet looks like a sheet.
const MIN_COLUMNS: u32 = 8;
/// Maximum number of columns on a page.
const MAX_COLUMNS: u32 = 100;
/// Maximum number of characters of a cell.
const MAX_CHARACTERS: usize = 300;

/// The part of a tab that one page shows.
struct View<'s> {
    id: &'s str,
    spreadsheet: &'s Spreadsheet,
    sheet: &'s Sheet,
    /// The number of used rows in the whole tab.
    used: u32,
    frozen: Vec<(u32, Row)>,
    rows: Vec<(u32, Row)>,
    shown: std::ops::Range<u32>,
    columns: u32,
}

/// Renders the page of a tab; `None` if the spreadsheet or the tab does not exist.
pub(super) fn show(
    snapshot: &Snapshot,
    id: &str,
    title: Option<&str>,
    end: Option<u32>,
) -> Result<Option<(String, Markup)>, ApiError> {
    let Some(spreadsheet) = snapshot.stored(id)? else {
        return Ok(None);
    };
    let wanted = |sheet: &&Sheet| title.is_none_or(|title| sheet.title == title);
    let Some(sheet) = spreadsheet.sheets.iter().find(wanted) else {
        return Ok(None);
    };
    let view = View::read(snapshot, id, &spreadsheet, sheet, end)?;
    let title = format!("{} · {}", sheet.title, spreadsheet.title);
    Ok(Some((title, view.markup())))
}

// === impl View ===

impl<'s> View<'s> {
    fn read(
        snapshot: &Snapshot,
        id: &'s str,
        spreadsheet: &'s Spreadsheet,
        sheet: &'s Sheet,
        end: Option<u32>,
    ) -> Result<Self, ApiError> {
        let used = snapshot.used_rows(id, sheet.id)?;
        let frozen_end = sheet.frozen_row_count.min(MAX_FROZEN_ROWS);
        let end = end.unwrap_or(used).clamp(0, used).max(frozen_end);
        let shown = end.saturating_sub(PAGE_ROWS).max(frozen_end)..end;
        let rows = |range| {
            snapshot
                .rows(id, sheet.id, range)?
                .collect::<Result<Vec<_>, ApiError>>()
        };
        let (frozen, rows) = (rows(0..frozen_end)?, rows(shown.clone())?);
        let width = frozen
            .iter()
            .chain(&rows)
            .map(|(_, row)| row.values.len())
            .max()
            .unwrap_or(0);
        let width = u32::try_from(width).unwrap_or(u32::MAX);
        let columns = width
            .max(MIN_COLUMNS)
            .min(sheet.column_count)
            .min(MAX_COLUMNS);
        Ok(Self {
            id,
            spreadsheet,
            sheet,
            used,
            frozen,
            rows,
            shown,
            columns,
        })
    }

    fn markup(&self) -> Markup {
        html! {
            div.bar {
                h1 { (self.spreadsheet.title) }
                nav.tabs {
                    @for sheet in self.spreadsheet.sheets.iter().filter(|sheet| !sheet.hidden) {
                        @let current = (sheet.id == self.sheet.id).then_some("page");
                        a href=(path(self.id, Some(&sheet.title))) aria-current=[current] { (sheet.title) }
                    }
                }
                span.count { (count(self.used, "row")) }
            }
            div #grid .grid { (self.table()) }
            footer { (self.pager()) }
        }
    }

    fn table(&self) -> Markup {
        html! {
            table {
                thead {
                    tr.letters {
                        th.corner {}
                        @for column in 0..self.columns { th scope="col" { (column_letters(column)) } }
                    }
                    @for (index, row) in &self.frozen { (self.row(*index, Some(row))) }
                }
                tbody {
                    @for (index, row) in self.lines() { (self.row(index, row)) }
                }
            }
            @if self.used == 0 {
                div.empty { p { "No rows yet. Rows appear here as soon as they are written." } }
            }
        }
    }

    /// All rows of the page, including empty ones, which are not stored.
    fn lines(&self) -> impl Iterator<Item = (u32, Option<&Row>)> {
        let mut stored = self.rows.iter().peekable();
        self.shown.clone().map(move |index| {
            (
                index,
                stored
                    .next_if(|(next, _)| *next == index)
                    .map(|(_, row)| row),
            )
        })
    }

    fn row(&self, index: u32, row: Option<&Row>) -> Markup {
        html! {
            tr data-row=(index + 1) {
                th scope="row" { (index + 1) }
                @for column in 0..self.columns {
                    (cell(row.and_then(|row| row.values.get(column as usize))))
                }
            }
        }
    }

    fn pager(&self) -> Markup {
        let here = path(self.id, Some(&self.sheet.title));
        let (first, last) = (self.shown.start, self.shown.end);
        let frozen = self.sheet.frozen_row_count.min(MAX_FROZEN_ROWS);
        html! {
            span {
                @if self.used > 0 {
                    "Rows " (grouped(first.min(last.saturating_sub(1)) + 1)) "–" (grouped(last))
                    " of " (grouped(self.used))
                }
                @if self.columns == MAX_COLUMNS && self.sheet.column_count > MAX_COLUMNS {
                    ", the first " (MAX_COLUMNS) " columns"
                }
            }
            nav {
                @if first > frozen { a href={ (here) "?end=" (first) } { "← Older" } }
                @if last < self.used {
                    a href={ (here) "?end=" (last.saturating_add(PAGE_ROWS)) } { "Newer →" }
                    a href=(here) { "Newest" }
                }
            }
        }
    }
}

fn cell(cell: Option<&Cell>) -> Markup {
    let Some(cell) = cell else {
        return html! { td {} };
    };
    let value = cell.user_entered_value.as_ref();
    let kind = match value {
        Some(EnteredValue::NumberValue(_)) => Some("number"),
        Some(EnteredValue::BoolValue(_)) => Some("bool"),
        Some(EnteredValue::FormulaValue(_)) => Some("formula"),
        Some(EnteredValue::StringValue(_)) | None => None,
    };
    let text = value.map(EnteredValue::display).unwrap_or_default();
    let cut = text.char_indices().nth(MAX_CHARACTERS).map(|(end, _)| end);
    html! {
        td class=[kind] {
            @if cell.is_bold() { b { (text[..cut.unwrap_or(text.len())]) } }
            @else { (text[..cut.unwrap_or(text.len())]) }
            @if cut.is_some() { span.more title="The text is longer" { "…" } }
        }
    }
}
