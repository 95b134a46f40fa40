//! The values API: ranges of plain values, read and written in A1 notation.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};

use super::a1::{self, Area, Reference};
use super::cell::{Cell, CellFields, EnteredValue, Input, Render};
use super::metadata::Dimension;
use super::refusal::Refusal;
use super::sheet::Sheet;
use super::spreadsheet::Spreadsheet;
use super::store::{Draft, Snapshot};

/// Cells in one answer, gaps included; more is refused, since an answer is built in memory.
const MAX_READ_CELLS: usize = 2_000_000;

/// How to read a range.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOptions {
    pub(super) major: Dimension,
    pub(super) render: Render,
}

/// `ValueRange` of the API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ValueRange {
    range: Option<String>,
    major_dimension: Option<Dimension>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
}

/// A range found in its spreadsheet.
pub(super) struct Place<'s> {
    pub(super) sheet: &'s Sheet,
    area: Area,
}

/// The body of `values.batchUpdate`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ValueRanges {
    value_input_option: Option<Input>,
    #[serde(default)]
    data: Vec<ValueRange>,
}

// === impl ValueRange ===

impl ValueRange {
    /// Rows and columns that its values need.
    pub(super) fn size(&self) -> (u32, u32) {
        let longest = self.values.iter().map(Vec::len).max().unwrap_or(0);
        // What does not fit is beyond every grid.
        let [lines, longest] =
            [self.values.len(), longest].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        match self.major_dimension.unwrap_or(Dimension::Rows) {
            Dimension::Rows => (lines, longest),
            Dimension::Columns => (longest, lines),
        }
    }
}

// === reading ===

/// Reads one range. Empty rows and cells at the end of it are left out, as Google does.
pub(super) fn read(
    snapshot: &Snapshot,
    id: &str,
    spreadsheet: &Spreadsheet,
    range: &str,
    options: ReadOptions,
) -> Result<Value, Refusal> {
    let place = Place::find(spreadsheet, range)?;
    let (rows, columns) = place.clip(range)?;
    let mut lines: Vec<Vec<Value>> = Vec::new();
    let mut cells = 0;
    for entry in snapshot.rows(id, place.sheet.id, rows.clone())? {
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
        lines = transposed(&lines)?;
    }
    let mut answer = json!({
        "range": a1::write(&place.sheet.title, &rows, &columns),
        "majorDimension": options.major,
    });
    if !lines.is_empty() {
        answer["values"] = json!(lines);
    }
    Ok(answer)
}

fn row_values(cells: &[Cell], columns: &Range<u32>, render: Render) -> Vec<Value> {
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

fn transposed(rows: &[Vec<Value>]) -> Result<Vec<Vec<Value>>, Refusal> {
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

fn check_size(cells: usize) -> Result<(), Refusal> {
    if cells > MAX_READ_CELLS {
        return Err(Refusal::invalid(format!(
            "The emulator returns {MAX_READ_CELLS} cells at once: read the range in parts"
        )));
    }
    Ok(())
}

// === writing ===

/// The range of the request, if the body does not name another one.
pub(super) fn check_range(range: &str, body: &ValueRange) -> Result<(), Refusal> {
    if body.range.as_deref().is_some_and(|named| named != range) {
        return Err(Refusal::invalid(
            "Requested writing within a range other than that of the body",
        ));
    }
    Ok(())
}

/// Writes one range. `null` leaves a cell as it is, an empty string clears it.
pub(super) fn write(
    draft: &mut Draft<'_>,
    id: &str,
    range: &str,
    body: &ValueRange,
    input: Input,
) -> Result<Value, Refusal> {
    let spreadsheet = draft.spreadsheet(id)?;
    let place = Place::find(&spreadsheet, range)?;
    let (rows, columns) = place.writable(range)?;
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
            let row = inside(&rows, row).ok_or_else(|| place.beyond(&rows, &columns, "row"))?;
            let column =
                inside(&columns, column).ok_or_else(|| place.beyond(&rows, &columns, "column"))?;
            let cell = Cell {
                user_entered_value: EnteredValue::from_input(value, input)?,
                ..Cell::default()
            };
            cell.check()?;
            let mut stored = draft.row(id, place.sheet.id, row)?;
            stored.cell_mut(column).assign(&cell, CellFields::VALUE);
            draft.put_row(id, place.sheet.id, row, stored)?;
            (end_row, end_column, cells) =
                (end_row.max(row + 1), end_column.max(column + 1), cells + 1);
        }
    }
    draft.put_spreadsheet(id, &spreadsheet)?;
    let (rows, columns) = (rows.start..end_row, columns.start..end_column);
    Ok(json!({
        "spreadsheetId": id,
        "updatedRange": a1::write(&place.sheet.title, &rows, &columns),
        "updatedRows": rows.len(),
        "updatedColumns": columns.len(),
        "updatedCells": cells,
    }))
}

/// Writes several ranges, all or none.
pub(super) fn write_many(
    draft: &mut Draft<'_>,
    id: &str,
    body: &ValueRanges,
) -> Result<Value, Refusal> {
    let input = body.value_input_option.ok_or_else(Input::missing)?;
    let mut responses = Vec::with_capacity(body.data.len());
    for one in &body.data {
        let range = one.range.as_deref();
        let range = range.ok_or_else(|| Refusal::invalid("Invalid data: a range is missing"))?;
        responses.push(write(draft, id, range, one, input)?);
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

// === impl Place ===

impl<'s> Place<'s> {
    /// Finds the tab or named range that a text speaks of.
    pub(super) fn find(spreadsheet: &'s Spreadsheet, range: &str) -> Result<Self, Refusal> {
        let unparsable = || Refusal::invalid(format!("Unable to parse range: {range}"));
        let Reference { name, area } = Reference::parse(range).ok_or_else(unparsable)?;
        let Some(name) = name else {
            let sheet = spreadsheet.sheets.first().ok_or_else(unparsable)?;
            return Ok(Self {
                sheet,
                area: area.unwrap_or(Area::ALL),
            });
        };
        // A name alone means the named range before the tab; quotes would mean the tab.
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

    /// The part of it inside the grid.
    pub(super) fn clip(&self, range: &str) -> Result<(Range<u32>, Range<u32>), Refusal> {
        let rows = self.area.rows.within(self.sheet.row_count);
        let columns = self.area.columns.within(self.sheet.column_count);
        rows.zip(columns).ok_or_else(|| {
            Refusal::invalid(format!(
                "Range ({range}) exceeds grid limits. Max rows: {}, max columns: {}",
                self.sheet.row_count, self.sheet.column_count
            ))
        })
    }

    /// Where values may go: a single cell only says where they start.
    fn writable(&self, range: &str) -> Result<(Range<u32>, Range<u32>), Refusal> {
        let (rows, columns) = self.clip(range)?;
        if self.area.is_cell() {
            return Ok((
                rows.start..self.sheet.row_count,
                columns.start..self.sheet.column_count,
            ));
        }
        Ok((rows, columns))
    }

    fn beyond(&self, rows: &Range<u32>, columns: &Range<u32>, what: &str) -> Refusal {
        let range = a1::write(&self.sheet.title, rows, columns);
        let next = if what == "row" {
            (rows.end + 1).to_string()
        } else {
            a1::column_letters(columns.end)
        };
        if self.area.is_cell() {
            return Refusal::invalid(format!(
                "Range ({range}) exceeds grid limits. Max rows: {}, max columns: {}",
                self.sheet.row_count, self.sheet.column_count
            ));
        }
        Refusal::invalid(format!(
            "Requested writing within range [{range}], but tried writing to {what} [{next}]"
        ))
    }
}
