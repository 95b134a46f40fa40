//! A spreadsheet without its cells: title, tabs with their grids, named ranges, and the rules that
//! bind them. It is one small stored record, rewritten whole by each batch that changes it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::mask::FieldMask;
use super::named_range::NamedRange;
use super::refusal::Refusal;
use super::sheet::{Sheet, SheetProperties};

/// Google's limit for all grids of a spreadsheet together, empty cells included.
pub(super) const MAX_CELLS: u64 = 10_000_000;
const MAX_SHEETS: usize = 200;
const MAX_NAMED_RANGES: usize = 1_000;
const MAX_TITLE_CHARACTERS: usize = 100;

/// What is stored of a spreadsheet besides rows and developer metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spreadsheet {
    pub(super) title: String,
    /// In the order of the tabs; never empty.
    pub(super) sheets: Vec<Sheet>,
    pub(super) named_ranges: Vec<NamedRange>,
}

/// A fresh positive id, for what the client did not number itself.
pub(super) fn random_id() -> i32 {
    let low_bits = uuid::Uuid::now_v7().as_u128() & 0x3fff_ffff;
    i32::try_from(low_bits + 1).expect("30 bits fit")
}

// === impl Spreadsheet ===

impl Spreadsheet {
    /// What an id that nobody wrote to yet stands for: one empty tab, as Google makes it.
    pub(super) fn new(title: impl Into<String>) -> Self {
        let sheets = vec![Sheet::new(0, "Sheet1")];
        Self {
            title: title.into(),
            sheets,
            named_ranges: Vec::new(),
        }
    }

    /// Builds a spreadsheet with these tabs, or the default one.
    pub(super) fn with_sheets(title: &str, sheets: Vec<SheetProperties>) -> Result<Self, Refusal> {
        let mut spreadsheet = Self::new(title);
        if !sheets.is_empty() {
            spreadsheet.sheets.clear();
            for properties in sheets {
                spreadsheet.add_sheet(properties)?;
            }
        }
        Ok(spreadsheet)
    }

    pub(super) fn sheet(&self, id: i32) -> Result<&Sheet, Refusal> {
        let found = self.sheets.iter().find(|sheet| sheet.id == id);
        found.ok_or_else(|| Refusal::invalid(format!("No grid with id: {id}")))
    }

    pub(super) fn sheet_mut(&mut self, id: i32) -> Result<&mut Sheet, Refusal> {
        let found = self.sheets.iter_mut().find(|sheet| sheet.id == id);
        found.ok_or_else(|| Refusal::invalid(format!("No grid with id: {id}")))
    }

    /// Cells of all grids, empty ones included.
    pub(super) fn cells(&self) -> u64 {
        let cells = |sheet: &Sheet| u64::from(sheet.row_count) * u64::from(sheet.column_count);
        self.sheets.iter().map(cells).sum()
    }

    /// To be called after every change of a grid.
    pub(super) fn check_cells(&self) -> Result<(), Refusal> {
        if self.cells() > MAX_CELLS {
            return Err(Refusal::invalid(format!(
                "This action would increase the number of cells in the workbook above the limit of {MAX_CELLS} cells."
            )));
        }
        Ok(())
    }

    /// Adds a tab and returns its id.
    pub(super) fn add_sheet(&mut self, properties: SheetProperties) -> Result<i32, Refusal> {
        if self.sheets.len() >= MAX_SHEETS {
            return Err(Refusal::invalid(format!(
                "A spreadsheet may have {MAX_SHEETS} sheets"
            )));
        }
        if properties
            .sheet_type
            .as_deref()
            .is_some_and(|kind| kind != "GRID")
        {
            return Err(Refusal::invalid(
                "The emulator has sheets of type GRID only",
            ));
        }
        let id = match properties.sheet_id {
            Some(id) if id < 0 => return Err(Refusal::invalid("sheetId must not be negative")),
            Some(id) if self.sheet(id).is_ok() => {
                return Err(Refusal::invalid(format!(
                    "A sheet with the ID {id} already exists."
                )));
            }
            Some(id) => id,
            None => std::iter::repeat_with(random_id)
                .find(|id| self.sheet(*id).is_err())
                .expect("far fewer sheets than ids"),
        };
        let title = properties.title.unwrap_or_else(|| self.free_title());
        self.check_title(&title, id)?;
        let mut sheet = Sheet::new(id, title);
        sheet.hidden = properties.hidden.unwrap_or(false);
        sheet.set_grid(&properties.grid_properties)?;
        let index = properties.index.unwrap_or(self.sheets.len());
        if index > self.sheets.len() {
            return Err(Refusal::invalid(format!("Invalid index: {index}")));
        }
        self.sheets.insert(index, sheet);
        self.check_cells()?;
        Ok(id)
    }

    fn free_title(&self) -> String {
        let taken = |title: &String| self.sheets.iter().any(|sheet| sheet.title == *title);
        let mut titles = (self.sheets.len() + 1..).map(|n| format!("Sheet{n}"));
        titles
            .find(|title| !taken(title))
            .expect("endless titles, few sheets")
    }

    fn check_title(&self, title: &str, own: i32) -> Result<(), Refusal> {
        if title.is_empty() || title.chars().count() > MAX_TITLE_CHARACTERS {
            return Err(Refusal::invalid(format!(
                "The name of a sheet must have 1 to {MAX_TITLE_CHARACTERS} characters"
            )));
        }
        let same =
            |sheet: &Sheet| sheet.id != own && sheet.title.to_lowercase() == title.to_lowercase();
        if self.sheets.iter().any(same) {
            return Err(Refusal::invalid(format!(
                "A sheet with the name \"{title}\" already exists. Please enter another name."
            )));
        }
        Ok(())
    }

    /// Removes a tab and the named ranges on it. The last one stays.
    pub(super) fn delete_sheet(&mut self, id: i32) -> Result<(), Refusal> {
        self.sheet(id)?;
        if self.sheets.len() == 1 {
            return Err(Refusal::invalid(
                "You can't remove all the sheets in a document.",
            ));
        }
        self.sheets.retain(|sheet| sheet.id != id);
        self.named_ranges.retain(|named| named.range.sheet_id != id);
        Ok(())
    }

    /// Sets what `mask` names of a tab's properties.
    pub(super) fn update_sheet(
        &mut self,
        properties: SheetProperties,
        mask: &FieldMask,
    ) -> Result<(), Refusal> {
        let known = ["*", "title", "index", "hidden", "gridProperties"];
        if let Some(name) = mask.names().find(|name| !known.contains(name)) {
            return Err(Refusal::invalid(format!(
                "The emulator cannot update the field '{name}' of a sheet"
            )));
        }
        let id = properties.sheet_id.unwrap_or(0);
        self.sheet(id)?;
        if mask.covers("title") {
            let title = properties.title.unwrap_or_default();
            self.check_title(&title, id)?;
            self.sheet_mut(id)?.title = title;
        }
        let sheet = self.sheet_mut(id)?;
        if mask.covers("hidden") {
            sheet.hidden = properties.hidden.unwrap_or(false);
        }
        sheet.set_grid(&properties.grid_properties.masked(mask))?;
        if let Some(index) = properties.index.filter(|_| mask.covers("index")) {
            self.move_sheet(id, index)?;
        }
        self.check_cells()
    }

    fn move_sheet(&mut self, id: i32, index: usize) -> Result<(), Refusal> {
        if index > self.sheets.len() {
            return Err(Refusal::invalid(format!("Invalid index: {index}")));
        }
        let from = self.sheets.iter().position(|sheet| sheet.id == id);
        let sheet = self.sheets.remove(from.expect("found by the caller"));
        self.sheets.insert(index.min(self.sheets.len()), sheet);
        Ok(())
    }

    /// Adds a named range, with an id of its own if it brought none.
    pub(super) fn add_named_range(
        &mut self,
        mut named: NamedRange,
    ) -> Result<&NamedRange, Refusal> {
        if self.named_ranges.len() >= MAX_NAMED_RANGES {
            return Err(Refusal::invalid(format!(
                "A spreadsheet may have {MAX_NAMED_RANGES} named ranges"
            )));
        }
        self.sheet(named.range.sheet_id)?;
        named.check()?;
        if named.named_range_id.is_empty() {
            named.named_range_id = random_id().to_string();
        }
        let id = &named.named_range_id;
        if self
            .named_ranges
            .iter()
            .any(|other| other.named_range_id == *id)
        {
            return Err(Refusal::invalid(format!(
                "A named range with the ID {id} already exists."
            )));
        }
        if self
            .named_ranges
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&named.name))
        {
            return Err(Refusal::invalid(format!(
                "A named range with the name \"{}\" already exists.",
                named.name
            )));
        }
        self.named_ranges.push(named);
        Ok(self.named_ranges.last().expect("pushed above"))
    }

    pub(super) fn delete_named_range(&mut self, id: &str) -> Result<(), Refusal> {
        let before = self.named_ranges.len();
        self.named_ranges.retain(|named| named.named_range_id != id);
        if self.named_ranges.len() == before {
            return Err(Refusal::invalid(format!("No named range with id: {id}")));
        }
        Ok(())
    }

    /// The resource as the API shows it, without the developer metadata.
    pub(super) fn resource(&self, id: &str, url: &str) -> Value {
        let sheets: Vec<Value> = (0..self.sheets.len())
            .map(|index| json!({ "properties": self.sheets[index].properties(index) }))
            .collect();
        let mut resource = json!({
            "spreadsheetId": id,
            "properties": {
                "title": self.title,
                "locale": "en_US",
                "autoRecalc": "ON_CHANGE",
                "timeZone": "Etc/GMT",
            },
            "sheets": sheets,
            "spreadsheetUrl": url,
        });
        if !self.named_ranges.is_empty() {
            resource["namedRanges"] = json!(self.named_ranges);
        }
        resource
    }

    /// A tab as the API shows it.
    pub(super) fn sheet_properties(&self, id: i32) -> Value {
        let index = self.sheets.iter().position(|sheet| sheet.id == id);
        index.map_or(Value::Null, |index| self.sheets[index].properties(index))
    }
}
