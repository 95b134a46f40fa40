//! A batch as a request of the Sheets API. Every text is written as a literal, so that no form
//! field can become a formula. Every row has the same columns, which are found by their stable
//! names.

use google_sheets4::api::{
    AddSheetRequest, AppendCellsRequest, AppendDimensionRequest, BatchUpdateSpreadsheetRequest,
    CellData, CreateDeveloperMetadataRequest, DataFilter, DeleteDeveloperMetadataRequest,
    DeveloperMetadata, DeveloperMetadataLocation, DeveloperMetadataLookup, ExtendedValue,
    GridCoordinate, GridProperties, Request, RowData, SheetProperties, UpdateCellsRequest,
    UpdateDeveloperMetadataRequest,
};
use jiff::Timestamp;

use formline_core::event;

use super::client::field;
use crate::sheets::log::{
    batch::{BatchRow, Predecessor, SheetBatch},
    checkpoint::METADATA_KEY,
    headings::{self, FIXED_HEADINGS, LATE_NOTE},
    row::CellValue,
};

/// Google's limit is 50,000 characters in a cell.
const MAX_CHARACTERS: usize = 50_000;
const CUT_CHARACTERS: usize = 49_900;

/// The whole write. Google applies the requests in this order.
pub(crate) fn build(batch: &SheetBatch) -> BatchUpdateSpreadsheetRequest {
    let mut requests = Vec::new();
    let sheet = batch.checkpoint.sheet_id;
    if let Predecessor::NewTab { title } = &batch.predecessor {
        requests.push(add_sheet(sheet, title));
        requests.push(heading_cells(sheet, 0, &FIXED_HEADINGS));
    }
    // Requests that free metadata come first, because the limit applies after each request.
    requests.extend(batch.expired().map(delete_checkpoint));
    requests.extend(batch.stripped().map(|(id, at)| strip_checkpoint(id, at)));
    requests.push(create_checkpoint(batch));
    if !batch.new_headings.is_empty() {
        let first =
            FIXED_HEADINGS.len() + batch.checkpoint.columns.len() - batch.new_headings.len();
        requests.push(append_columns(sheet, batch.new_headings.len()));
        requests.push(heading_cells(sheet, first, &batch.new_headings));
    }
    if batch.is_probe {
        let blank =
            vec![CellData::default(); FIXED_HEADINGS.len() + batch.checkpoint.columns.len()];
        requests.push(append_rows(
            sheet,
            vec![RowData {
                values: Some(blank),
            }],
        ));
    } else if !batch.rows.is_empty() {
        let rows = batch
            .rows
            .iter()
            .map(|line| row(line, &batch.checkpoint.columns));
        requests.push(append_rows(sheet, rows.collect()));
    }
    BatchUpdateSpreadsheetRequest {
        requests: Some(requests),
        ..Default::default()
    }
}

/// A tab with exactly the columns that it needs. Google's default of 26 would use up the limit of
/// cells.
fn add_sheet(sheet: i32, title: &str) -> Request {
    let grid = GridProperties {
        row_count: Some(2),
        column_count: Some(int(FIXED_HEADINGS.len())),
        // The heading stays in place when a user sorts the rows.
        frozen_row_count: Some(1),
        ..Default::default()
    };
    let properties = SheetProperties {
        sheet_id: Some(sheet),
        title: Some(title.to_owned()),
        grid_properties: Some(grid),
        ..Default::default()
    };
    Request {
        add_sheet: Some(AddSheetRequest {
            properties: Some(properties),
        }),
        ..Default::default()
    }
}

fn append_columns(sheet: i32, count: usize) -> Request {
    let append_dimension = AppendDimensionRequest {
        sheet_id: Some(sheet),
        dimension: Some("COLUMNS".to_owned()),
        length: Some(int(count)),
    };
    Request {
        append_dimension: Some(append_dimension),
        ..Default::default()
    }
}

fn heading_cells(sheet: i32, first: usize, titles: &[impl AsRef<str>]) -> Request {
    let start = GridCoordinate {
        sheet_id: Some(sheet),
        row_index: Some(0),
        column_index: Some(int(first)),
    };
    let cells = titles
        .iter()
        .map(|title| text(&headings::cell_text(title.as_ref()), ""))
        .collect();
    let update_cells = UpdateCellsRequest {
        start: Some(start),
        rows: Some(vec![RowData {
            values: Some(cells),
        }]),
        fields: field("userEnteredValue"),
        ..Default::default()
    };
    Request {
        update_cells: Some(update_cells),
        ..Default::default()
    }
}

fn create_checkpoint(batch: &SheetBatch) -> Request {
    let location = DeveloperMetadataLocation {
        sheet_id: Some(batch.checkpoint.sheet_id),
        ..Default::default()
    };
    let metadata = DeveloperMetadata {
        metadata_id: Some(batch.checkpoint_id),
        metadata_key: Some(METADATA_KEY.to_owned()),
        metadata_value: Some(batch.checkpoint_json.clone()),
        location: Some(location),
        // With the visibility PROJECT, the sink could not see it after its credentials have moved
        // to another project.
        visibility: Some("DOCUMENT".to_owned()),
    };
    let create = CreateDeveloperMetadataRequest {
        developer_metadata: Some(metadata),
    };
    Request {
        create_developer_metadata: Some(create),
        ..Default::default()
    }
}

fn strip_checkpoint(id: i32, at: String) -> Request {
    let update = UpdateDeveloperMetadataRequest {
        data_filters: Some(vec![by_id(id)]),
        developer_metadata: Some(DeveloperMetadata {
            metadata_value: Some(at),
            ..Default::default()
        }),
        fields: field("metadataValue"),
    };
    Request {
        update_developer_metadata: Some(update),
        ..Default::default()
    }
}

fn delete_checkpoint(id: i32) -> Request {
    let delete = DeleteDeveloperMetadataRequest {
        data_filter: Some(by_id(id)),
    };
    Request {
        delete_developer_metadata: Some(delete),
        ..Default::default()
    }
}

fn by_id(id: i32) -> DataFilter {
    let lookup = DeveloperMetadataLookup {
        metadata_id: Some(id),
        ..Default::default()
    };
    DataFilter {
        developer_metadata_lookup: Some(lookup),
        ..Default::default()
    }
}

fn append_rows(sheet: i32, rows: Vec<RowData>) -> Request {
    let append_cells = AppendCellsRequest {
        sheet_id: Some(sheet),
        rows: Some(rows),
        fields: field("userEnteredValue"),
        ..Default::default()
    };
    Request {
        append_cells: Some(append_cells),
        ..Default::default()
    }
}

fn row(line: &BatchRow, columns: &[String]) -> RowData {
    let key = &line.row.key;
    let time = Timestamp::from_microsecond(key.time).unwrap_or_default();
    // The id is never empty. Without a first cell, Google would not count the row as data and would
    // overwrite it.
    let mut values = vec![
        text(&key.id, &key.id),
        text(&event::format_time(time), &key.id),
    ];
    values.push(if line.is_late {
        text(LATE_NOTE, &key.id)
    } else {
        CellData::default()
    });
    values.resize_with(FIXED_HEADINGS.len() + columns.len(), CellData::default);
    for cell in &line.row.cells {
        // The checkpoint has every column of the rows in its batch.
        if let Some(index) = columns.iter().position(|column| *column == cell.column) {
            values[FIXED_HEADINGS.len() + index] = value(&cell.value, &key.id);
        }
    }
    RowData {
        values: Some(values),
    }
}

fn value(value: &CellValue, id: &str) -> CellData {
    match value {
        CellValue::Empty => CellData::default(),
        CellValue::Text(content) => text(content, id),
        CellValue::Number(number) => entered(ExtendedValue {
            number_value: Some(*number),
            ..Default::default()
        }),
        CellValue::Bool(truth) => entered(ExtendedValue {
            bool_value: Some(*truth),
            ..Default::default()
        }),
    }
}

fn text(content: &str, id: &str) -> CellData {
    let content = fit(content, id).replace('\0', "\u{fffd}");
    entered(ExtendedValue {
        string_value: Some(content),
        ..Default::default()
    })
}

fn entered(value: ExtendedValue) -> CellData {
    CellData {
        user_entered_value: Some(value),
        ..Default::default()
    }
}

/// Cuts a text that is too long for a cell, and says where the rest is. Google counts UTF-16 units.
fn fit(content: &str, id: &str) -> String {
    let units = if content.len() <= MAX_CHARACTERS {
        0
    } else {
        content.encode_utf16().count()
    };
    if units <= MAX_CHARACTERS {
        return content.to_owned();
    }
    let mut left = CUT_CHARACTERS;
    let kept = content.chars().take_while(|c| {
        let fits = c.len_utf16() <= left;
        left = left.saturating_sub(c.len_utf16());
        fits
    });
    let kept: String = kept.collect();
    let id = &id[..id.floor_char_boundary(36)];
    format!("{kept} … [cut; all {units} characters are in submission {id}]")
}

fn int(count: usize) -> i32 {
    i32::try_from(count).expect("the checkpoint has no room for this number of columns")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01234567-89ab-7def-8123-456789abcdef";

    #[test]
    fn a_text_that_is_too_long_is_cut_with_a_notice() {
        let exact = "x".repeat(MAX_CHARACTERS);
        assert_eq!(fit(&exact, ID), exact);
        for long in ["x".repeat(MAX_CHARACTERS + 1), "𝄞".repeat(MAX_CHARACTERS)] {
            let cut = fit(&long, ID);
            assert!(cut.encode_utf16().count() <= MAX_CHARACTERS);
            assert!(
                cut.ends_with(&format!("submission {ID}]")),
                "the notice names the submission"
            );
        }
    }

    #[test]
    fn a_formula_stays_text() {
        let cell = serde_json::to_value(text("=1+1", ID)).expect("a cell is JSON");
        assert_eq!(cell["userEnteredValue"]["stringValue"], "=1+1");
        assert!(cell["userEnteredValue"]["formulaValue"].is_null());
    }
}
