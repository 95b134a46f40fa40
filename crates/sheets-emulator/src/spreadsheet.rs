//! A spreadsheet without its cells: its title, tabs and named ranges, and the rules about them. It
//! is one small record, which each batch rewrites.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::mask::FieldMask;
use crate::named_range::NamedRange;
use crate::sheet::{Sheet, SheetProperties};

/// Maximum number of cells of all grids of a spreadsheet, including empty cells. Google has the
/// same limit.
pub(crate) const MAX_CELLS: u64 = 10_000_000;
/// Maximum number of tabs.
const MAX_SHEETS: usize = 200;
/// Maximum number of named ranges.
const MAX_NAMED_RANGES: usize = 1_000;
/// Maximum length of the title of a tab.
const MAX_TITLE_CHARACTERS: usize = 100;

/// The record of a spreadsheet, without rows and developer metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spreadsheet {
    pub(crate) title: String,
    /// In the order of the tabs; never empty.
    pub(crate) sheets: Vec<Sheet>,
    pub(crate) named_ranges: Vec<NamedRange>,
}

/// A random positive id, for objects without an id from the client.
pub(crate) fn random_id() -> i32 {
    let low_bits = uuid::Uuid::now_v7().as_u128() & 0x3fff_ffff;
    i32::try_from(low_bits + 1).expect("30 bits fit into an i32")
}

// === impl Spreadsheet ===

impl Spreadsheet {
    /// A spreadsheet with one empty tab, like a new spreadsheet of Google.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        let sheets = vec![Sheet::new(0, "Sheet1")];
        Self {
            title: title.into(),
            sheets,
            named_ranges: Vec::new(),
        }
    }

    /// A spreadsheet with these tabs; without any, it has the default tab.
    pub(crate) fn with_sheets(title: &str, sheets: Vec<SheetProperties>) -> Result<Self, ApiError> {
        let mut spreadsheet = Self::new(title);
        if !sheets.is_empty() {
            spreadsheet.sheets.clear();
            for properties in sheets {
                spreadsheet.add_sheet(properties)?;
            }
        }
        Ok(spreadsheet)
    }

    /// The tab with this id.
    pub(crate) fn sheet(&self, id: i32) -> Result<&Sheet, ApiError> {
        let found = self.sheets.iter().find(|sheet| sheet.id == id);
        found.ok_or_else(|| ApiError::invalid(format!("No grid with id: {id}")))
    }

    /// The tab with this id.
    pub(crate) fn sheet_mut(&mut self, id: i32) -> Result<&mut Sheet, ApiError> {
        let found = self.sheets.iter_mut().find(|sheet| sheet.id == id);
        found.ok_or_else(|| ApiError::invalid(format!("No grid with id: {id}")))
    }

    /// The number of cells of all grids, including empty cells.
    pub(crate) fn cells(&self) -> u64 {
        let cells = |sheet: &Sheet| u64::from(sheet.row_count) * u64::from(sheet.column_count);
        self.sheets.iter().map(cells).sum()
    }

    /// Checks the limit of cells. Must be called after every change of a grid.
    pub(crate) fn check_cells(&self) -> Result<(), ApiError> {
        if self.cells() > MAX_CELLS {
            return Err(ApiError::invalid(format!(
                "This action would increase the number of cells in the workbook above the limit of {MAX_CELLS} cells."
            )));
        }
        Ok(())
    }

    /// Adds a tab and returns its id.
    pub(crate) fn add_sheet(&mut self, properties: SheetProperties) -> Result<i32, ApiError> {
        if self.sheets.len() >= MAX_SHEETS {
            return Err(ApiError::invalid(format!(
                "A spreadsheet may have at most {MAX_SHEETS} sheets"
            )));
        }
        if properties
            .sheet_type
            .as_deref()
            .is_some_and(|kind| kind != "GRID")
        {
            return Err(ApiError::invalid(
                "The emulator only supports sheets of type GRID",
            ));
        }
        let id = match properties.sheet_id {
            Some(id) if id < 0 => return Err(ApiError::invalid("sheetId must not be negative")),
            Some(id) if self.sheet(id).is_ok() => {
                return Err(ApiError::invalid(format!(
                    "A sheet with the ID {id} already exists."
                )));
            }
            Some(id) => id,
            None => std::iter::repeat_with(random_id)
                .find(|id| self.sheet(*id).is_err())
                .expect("there are more ids than sheets"),
        };
        let title = properties.title.unwrap_or_else(|| self.unused_title());
        self.check_title(&title, id)?;
        let mut sheet = Sheet::new(id, title);
        sheet.hidden = properties.hidden.unwrap_or(false);
        sheet.set_grid(&properties.grid_properties)?;
        let index = properties.index.unwrap_or(self.sheets.len());
        if index > self.sheets.len() {
            return Err(ApiError::invalid(format!("Invalid index: {index}")));
        }
        self.sheets.insert(index, sheet);
        self.check_cells()?;
        Ok(id)
    }

    fn unused_title(&self) -> String {
        let is_used = |title: &String| self.sheets.iter().any(|sheet| sheet.title == *title);
        let mut titles = (self.sheets.len() + 1..).map(|n| format!("Sheet{n}"));
        titles
            .find(|title| !is_used(title))
            .expect("there are more titles than sheets")
    }

    fn check_title(&self, title: &str, own: i32) -> Result<(), ApiError> {
        if title.is_empty() || title.chars().count() > MAX_TITLE_CHARACTERS {
            return Err(ApiError::invalid(format!(
                "The name of a sheet must have 1 to {MAX_TITLE_CHARACTERS} characters"
            )));
        }
        let same =
            |sheet: &Sheet| sheet.id != own && sheet.title.to_lowercase() == title.to_lowercase();
        if self.sheets.iter().any(same) {
            return Err(ApiError::invalid(format!(
                "A sheet with the name \"{title}\" already exists. Please enter another name."
            )));
        }
        Ok(())
    }

    /// Removes a tab and its named ranges. The last tab cannot be removed.
    pub(crate) fn delete_sheet(&mut self, id: i32) -> Result<(), ApiError> {
        self.sheet(id)?;
        if self.sheets.len() == 1 {
            return Err(ApiError::invalid(
                "You can't remove all the sheets in a document.",
            ));
        }
        self.sheets.retain(|sheet| sheet.id != id);
        self.named_ranges.retain(|named| named.range.sheet_id != id);
        Ok(())
    }

    /// Sets the properties of a tab that are in the mask.
    pub(crate) fn update_sheet(
        &mut self,
        properties: SheetProperties,
        mask: &FieldMask,
    ) -> Result<(), ApiError> {
        let known = ["*", "title", "index", "hidden", "gridProperties"];
        if let Some(name) = mask.names().find(|name| !known.contains(name)) {
            return Err(ApiError::invalid(format!(
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

    fn move_sheet(&mut self, id: i32, index: usize) -> Result<(), ApiError> {
        if index > self.sheets.len() {
            return Err(ApiError::invalid(format!("Invalid index: {index}")));
        }
        let from = self.sheets.iter().position(|sheet| sheet.id == id);
        let sheet = self
            .sheets
            .remove(from.expect("the caller has found the tab"));
        self.sheets.insert(index.min(self.sheets.len()), sheet);
        Ok(())
    }

    /// Adds a named range, with a random id if the request has none.
    pub(crate) fn add_named_range(
        &mut self,
        mut named: NamedRange,
    ) -> Result<&NamedRange, ApiError> {
        if self.named_ranges.len() >= MAX_NAMED_RANGES {
            return Err(ApiError::invalid(format!(
                "A spreadsheet may have at most {MAX_NAMED_RANGES} named ranges"
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
            return Err(ApiError::invalid(format!(
                "A named range with the ID {id} already exists."
            )));
        }
        if self
            .named_ranges
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&named.name))
        {
            return Err(ApiError::invalid(format!(
                "A named range with the name \"{}\" already exists.",
                named.name
            )));
        }
        self.named_ranges.push(named);
        Ok(self
            .named_ranges
            .last()
            .expect("the line above adds an element"))
    }

    /// Removes a named range.
    pub(crate) fn delete_named_range(&mut self, id: &str) -> Result<(), ApiError> {
        let before = self.named_ranges.len();
        self.named_ranges.retain(|named| named.named_range_id != id);
        if self.named_ranges.len() == before {
            return Err(ApiError::invalid(format!("No named range with id: {id}")));
        }
        Ok(())
    }

    /// The `Spreadsheet` resource of the API, without developer metadata.
    pub(crate) fn resource(&self, id: &str, url: &str) -> Value {
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

    /// `SheetProperties` of the API for a tab.
    pub(crate) fn sheet_properties(&self, id: i32) -> Value {
        let index = self.sheets.iter().position(|sheet| sheet.id == id);
        index.map_or(Value::Null, |index| self.sheets[index].properties(index))
    }
}
