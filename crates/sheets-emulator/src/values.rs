//! The values API: reads and writes ranges of plain values in A1 notation.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::a1::{self, Area, Reference};
use crate::api_error::ApiError;
use crate::cell::{Cell, CellFields, EnteredValue, InputOption, RenderOption};
use crate::dimension::Dimension;
use crate::sheet::Sheet;
use crate::spreadsheet::Spreadsheet;
use crate::store::{Snapshot, Transaction};

/// Maximum number of cells in one response, including gaps, because a response is built in memory.
const MAX_READ_CELLS: usize = 2_000_000;

/// How to read a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOptions {
    pub(crate) major: Dimension,
    pub(crate) render: RenderOption,
}

/// `ValueRange` of the API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ValueRange {
    range: Option<String>,
    major_dimension: Option<Dimension>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
}

/// A range with its tab.
pub(crate) struct ResolvedRange<'s> {
    pub(crate) sheet: &'s Sheet,
    area: Area,
}

/// The body of `values.batchUpdate`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ValueRanges {
    value_input_option: Option<InputOption>,
    #[serde(default)]
    data: Vec<ValueRange>,
}

// === impl ValueRange ===

impl ValueRange {
    /// The number of rows and columns of the values.
    pub(crate) fn size(&self) -> (u32, u32) {
        let longest = self.values.iter().map(Vec::len).max().unwrap_or(0);
        // A number that does not fit exceeds every grid.
        let [lines, longest] =
            [self.values.len(), longest].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        match self.major_dimension.unwrap_or(Dimension::Rows) {
            Dimension::Rows => (lines, longest),
            Dimension::Columns => (longest, lines),
        }
    }
}

/// Reads one range. Like Google, it omits empty rows and cells at the end.
pub(crate) fn read(
    snapshot: &Snapshot,
    id: &str,
    spreadsheet: &Spreadsheet,
    range: &str,
    options: ReadOptions,
) -> Result<Value, ApiError> {
    let target = ResolvedRange::find(spreadsheet, range)?;
    let (rows, columns) = target.clip(range)?;
    let mut lines: Vec<Vec<Value>> = Vec::new();
    let mut cells = 0;
    for entry in snapshot.rows(id, target.sheet.id, rows.clone())? {
        let (index, row) = entry?;
        let line = row_values(&row.values, &columns, options.render);
        if line.is_empty() {
            continue;
        }
        let gap = (index - rows.start) as usize - lines.len();
        cells += gap + line.len();
        check_size(cells)?;
        lines.resize(lines.len() + gap, Vec::new());
        lines.push(line);
    }
    if options.major == Dimension::Columns {
        lines = transpose(&lines)?;
    }
    let mut response = json!({
        "range": a1::write(&target.sheet.title, &rows, &columns),
        "majorDimension": options.major,
    });
    if !lines.is_empty() {
        response["values"] = json!(lines);
    }
    Ok(response)
}

fn row_values(cells: &[Cell], columns: &Range<u32>, render: RenderOption) -> Vec<Value> {
    let wanted = cells
        .iter()
        .take(columns.end as usize)
        .skip(columns.start as usize);
    let mut values: Vec<Value> = wanted
        .map(|cell| {
            cell.user_entered_value
                .as_ref()
                .map_or_else(|| "".into(), |value| value.render(render))
        })
        .collect();
    let used = values.iter().rposition(|value| value != "");
    values.truncate(used.map_or(0, |last| last + 1));
    values
}

fn transpose(rows: &[Vec<Value>]) -> Result<Vec<Vec<Value>>, ApiError> {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    check_size(width.saturating_mul(rows.len()))?;
    let column = |index: usize| {
        let used = rows
            .iter()
            .rposition(|row| row.get(index).is_some_and(|value| value != ""));
        let cells = rows.iter().take(used.map_or(0, |last| last + 1));
        cells
            .map(|row| row.get(index).cloned().unwrap_or_else(|| "".into()))
            .collect()
    };
    Ok((0..width).map(column).collect())
}

fn check_size(cells: usize) -> Result<(), ApiError> {
    if cells > MAX_READ_CELLS {
        return Err(ApiError::invalid(format!(
            "The emulator returns at most {MAX_READ_CELLS} cells; read the range in parts"
        )));
    }
    Ok(())
}

/// Checks that the range in the body is that of the path.
pub(crate) fn check_range(range: &str, body: &ValueRange) -> Result<(), ApiError> {
    if body.range.as_deref().is_some_and(|named| named != range) {
        return Err(ApiError::invalid(
            "The range of the request must match the range of the body",
        ));
    }
    Ok(())
}

/// Writes one range. `null` keeps the value of a cell, and an empty string clears it.
pub(crate) fn write(
    tx: &mut Transaction<'_>,
    id: &str,
    range: &str,
    body: &ValueRange,
    input: InputOption,
) -> Result<Value, ApiError> {
    let spreadsheet = tx.spreadsheet(id)?;
    let target = ResolvedRange::find(&spreadsheet, range)?;
    let (rows, columns) = target.writable(range)?;
    let (mut end_row, mut end_column, mut cells) = (rows.start, columns.start, 0);
    for (major, line) in body.values.iter().enumerate() {
        for (minor, value) in line
            .iter()
            .enumerate()
            .filter(|(_, value)| !value.is_null())
        {
            let (row, column) = match body.major_dimension.unwrap_or(Dimension::Rows) {
                Dimension::Rows => (major, minor),
                Dimension::Columns => (minor, major),
            };
            let row = inside(&rows, row).ok_or_else(|| target.outside(&rows, &columns, "row"))?;
            let column = inside(&columns, column)
                .ok_or_else(|| target.outside(&rows, &columns, "column"))?;
            let cell = Cell {
                user_entered_value: EnteredValue::from_input(value, input)?,
                ..Cell::default()
            };
            cell.check()?;
            let mut stored = tx.row(id, target.sheet.id, row)?;
            stored.cell_mut(column).assign(&cell, CellFields::VALUE);
            tx.put_row(id, target.sheet.id, row, stored)?;
            (end_row, end_column, cells) =
                (end_row.max(row + 1), end_column.max(column + 1), cells + 1);
        }
    }
    tx.put_spreadsheet(id, &spreadsheet)?;
    let (rows, columns) = (rows.start..end_row, columns.start..end_column);
    Ok(json!({
        "spreadsheetId": id,
        "updatedRange": a1::write(&target.sheet.title, &rows, &columns),
        "updatedRows": rows.len(),
        "updatedColumns": columns.len(),
        "updatedCells": cells,
    }))
}

/// Writes several ranges: all or none.
pub(crate) fn write_many(
    tx: &mut Transaction<'_>,
    id: &str,
    body: &ValueRanges,
) -> Result<Value, ApiError> {
    let input = body.value_input_option.ok_or_else(InputOption::missing)?;
    let mut responses = Vec::with_capacity(body.data.len());
    for one in &body.data {
        let range = one.range.as_deref();
        let range = range.ok_or_else(|| ApiError::invalid("Invalid data: a range is missing"))?;
        responses.push(write(tx, id, range, one, input)?);
    }
    let total = |name: &str| -> u64 {
        let counts = responses.iter().filter_map(|one| one[name].as_u64());
        counts.sum()
    };
    Ok(json!({
        "spreadsheetId": id,
        "totalUpdatedRows": total("updatedRows"),
        "totalUpdatedColumns": total("updatedColumns"),
        "totalUpdatedCells": total("updatedCells"),
        "responses": responses,
    }))
}

fn inside(range: &Range<u32>, offset: usize) -> Option<u32> {
    let index = range.start.checked_add(u32::try_from(offset).ok()?)?;
    range.contains(&index).then_some(index)
}

// === impl ResolvedRange ===

impl<'s> ResolvedRange<'s> {
    /// Finds the tab or the named range of a range.
    pub(crate) fn find(spreadsheet: &'s Spreadsheet, range: &str) -> Result<Self, ApiError> {
        let unparsable = || ApiError::invalid(format!("Unable to parse range: {range}"));
        let Reference { name, area } = Reference::parse(range).ok_or_else(unparsable)?;
        let Some(name) = name else {
            let sheet = spreadsheet.sheets.first().ok_or_else(unparsable)?;
            return Ok(Self {
                sheet,
                area: area.unwrap_or(Area::ALL),
            });
        };
        // A name without cells means a named range rather than a tab, unless it is quoted.
        let named = spreadsheet
            .named_ranges
            .iter()
            .find(|named| named.name == name);
        if let Some(named) = named.filter(|_| area.is_none() && !range.starts_with('\'')) {
            let sheet = spreadsheet.sheet(named.range.sheet_id)?;
            return Ok(Self {
                sheet,
                area: named.range.area(),
            });
        }
        let same = |sheet: &&Sheet| sheet.title.to_lowercase() == name.to_lowercase();
        let sheet = spreadsheet
            .sheets
            .iter()
            .find(same)
            .ok_or_else(unparsable)?;
        Ok(Self {
            sheet,
            area: area.unwrap_or(Area::ALL),
        })
    }

    /// The part inside the grid.
    pub(crate) fn clip(&self, range: &str) -> Result<(Range<u32>, Range<u32>), ApiError> {
        let rows = self.area.rows.within(self.sheet.row_count);
        let columns = self.area.columns.within(self.sheet.column_count);
        rows.zip(columns).ok_or_else(|| {
            ApiError::invalid(format!(
                "Range ({range}) exceeds grid limits. Max rows: {}, max columns: {}",
                self.sheet.row_count, self.sheet.column_count
            ))
        })
    }

    /// The cells that may be written; a single cell is only the start of the values.
    fn writable(&self, range: &str) -> Result<(Range<u32>, Range<u32>), ApiError> {
        let (rows, columns) = self.clip(range)?;
        if self.area.is_cell() {
            return Ok((
                rows.start..self.sheet.row_count,
                columns.start..self.sheet.column_count,
            ));
        }
        Ok((rows, columns))
    }

    fn outside(&self, rows: &Range<u32>, columns: &Range<u32>, unit: &str) -> ApiError {
        let range = a1::write(&self.sheet.title, rows, columns);
        let next = if unit == "row" {
            (rows.end + 1).to_string()
        } else {
            a1::column_letters(columns.end)
        };
        if self.area.is_cell() {
            return ApiError::invalid(format!(
                "Range ({range}) exceeds grid limits. Max rows: {}, max columns: {}",
                self.sheet.row_count, self.sheet.column_count
            ));
        }
        ApiError::invalid(format!(
            "Requested writing within range [{range}], but tried writing to {unit} [{next}]"
        ))
    }
}
