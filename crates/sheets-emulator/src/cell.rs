//! A cell: what was entered and how it looks when read. Formulas are kept and shown as their text,
//! since nothing here calculates; number formats are kept, but numbers are shown plainly.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::mask::FieldMask;
use super::refusal::Refusal;

/// Google's limit per cell. Counted in UTF-16 units, the stricter reading of "characters".
pub(super) const MAX_CELL_CHARACTERS: usize = 50_000;

/// A value as a person or a program entered it (`ExtendedValue` of the API).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "the names of the API")]
pub(super) enum EnteredValue {
    StringValue(String),
    NumberValue(f64),
    BoolValue(bool),
    FormulaValue(String),
}

/// `CellData` of the API: the part of it that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Cell {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_entered_value: Option<EnteredValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_entered_format: Option<Map<String, Value>>,
}

/// `RowData` of the API. Stored without empty cells at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Row {
    pub(super) values: Vec<Cell>,
}

/// How values are read (`valueRenderOption`).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Render {
    FormattedValue,
    UnformattedValue,
    Formula,
}

/// How values are written (`valueInputOption`).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Input {
    Raw,
    UserEntered,
}

/// Which parts of a cell a request writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellFields {
    value: bool,
    format: bool,
}

// === impl Input ===

impl Input {
    /// Google does not choose for us.
    pub(super) fn missing() -> Refusal {
        Refusal::invalid("'valueInputOption' is required but not specified")
    }
}

// === impl EnteredValue ===

impl EnteredValue {
    /// Takes a value of the values API. `None` clears the cell.
    pub(super) fn from_input(value: &Value, input: Input) -> Result<Option<Self>, Refusal> {
        match value {
            Value::String(text) => Ok(match input {
                Input::Raw => Some(Self::StringValue(text.clone())),
                Input::UserEntered => Some(Self::typed(text)),
            }),
            Value::Bool(value) => Ok(Some(Self::BoolValue(*value))),
            Value::Number(number) => Ok(number.as_f64().map(Self::NumberValue)),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(Refusal::invalid(
                "Invalid values: a cell is a string, a number or a boolean",
            )),
        }
    }

    /// What Sheets makes of typed text: formulas, booleans and plain numbers. Dates, percentages and
    /// currencies, which depend on the locale, stay text here.
    fn typed(text: &str) -> Self {
        if let Some(literal) = text.strip_prefix('\'') {
            return Self::StringValue(literal.to_owned());
        }
        if text.len() > 1 && text.starts_with('=') {
            return Self::FormulaValue(text.to_owned());
        }
        let word = text.trim();
        match (word.to_ascii_uppercase().as_str(), typed_number(word)) {
            ("TRUE", _) => Self::BoolValue(true),
            ("FALSE", _) => Self::BoolValue(false),
            (_, Some(number)) => Self::NumberValue(number),
            _ => Self::StringValue(text.to_owned()),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::StringValue(text) if text.is_empty())
    }

    fn check(&self) -> Result<(), Refusal> {
        let (Self::StringValue(text) | Self::FormulaValue(text)) = self else {
            return Ok(());
        };
        // A character has at least as many bytes as UTF-16 units: count only where it may matter.
        if text.len() > MAX_CELL_CHARACTERS && text.encode_utf16().count() > MAX_CELL_CHARACTERS {
            return Err(Refusal::invalid(format!(
                "Your input contains more than the maximum of {MAX_CELL_CHARACTERS} characters in a single cell."
            )));
        }
        if matches!(self, Self::FormulaValue(formula) if !formula.starts_with('=')) {
            return Err(Refusal::invalid("A formulaValue must start with '='"));
        }
        Ok(())
    }

    pub(super) fn render(&self, render: Render) -> Value {
        match (self, render) {
            (Self::NumberValue(number), Render::UnformattedValue | Render::Formula) => {
                plain(*number)
            }
            (Self::BoolValue(value), Render::UnformattedValue | Render::Formula) => (*value).into(),
            (value, _) => value.shown().into(),
        }
    }

    /// The text in the cell as a person sees it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::StringValue(text) | Self::FormulaValue(text) => text.clone(),
            Self::NumberValue(number) => number.to_string(),
            Self::BoolValue(value) => value.to_string().to_uppercase(),
        }
    }
}

/// Only digits make a number: `f64` would also take `inf` and `nan`.
fn typed_number(word: &str) -> Option<f64> {
    let numeric = word
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number: f64 = numeric.then(|| word.parse().ok())??;
    number.is_finite().then_some(number)
}

/// A number as JSON: whole numbers without a decimal point, as Google writes them.
fn plain(number: f64) -> Value {
    serde_json::from_str(&number.to_string()).unwrap_or(Value::Null)
}

// === impl Cell ===

impl Cell {
    /// Takes the named fields of `source`, also where they are empty there.
    pub(super) fn assign(&mut self, source: &Self, fields: CellFields) {
        if fields.value {
            let value = source.user_entered_value.clone();
            self.user_entered_value = value.filter(|value| !value.is_empty());
        }
        if fields.format {
            self.user_entered_format
                .clone_from(&source.user_entered_format);
        }
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        self.user_entered_value
            .as_ref()
            .map_or(Ok(()), EnteredValue::check)
    }

    pub(super) fn is_bold(&self) -> bool {
        let format = self.user_entered_format.as_ref();
        format
            .and_then(|f| f.get("textFormat")?.get("bold")?.as_bool())
            .unwrap_or(false)
    }
}

// === impl Row ===

impl Row {
    /// The cell of a column, which is created if need be.
    pub(super) fn cell_mut(&mut self, column: u32) -> &mut Cell {
        let column = column as usize;
        if self.values.len() <= column {
            self.values.resize_with(column + 1, Cell::default);
        }
        &mut self.values[column]
    }

    /// Whether it is a "row with data", after which `appendCells` writes.
    pub(super) fn has_data(&self) -> bool {
        self.values
            .iter()
            .any(|cell| cell.user_entered_value.is_some())
    }

    /// Drops the empty cells at the end. `false` if nothing is left to store.
    pub(super) fn trim(&mut self) -> bool {
        let used = self
            .values
            .iter()
            .rposition(|cell| *cell != Cell::default());
        self.values.truncate(used.map_or(0, |last| last + 1));
        used.is_some()
    }
}

// === impl CellFields ===

impl CellFields {
    pub(super) const VALUE: Self = Self {
        value: true,
        format: false,
    };

    /// Reads the mask of `appendCells` and `updateCells`, whose root is the cell.
    pub(super) fn parse(mask: &str) -> Result<Self, Refusal> {
        let Some(mask) = FieldMask::parse(mask)? else {
            return Err(Refusal::invalid(
                "At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)",
            ));
        };
        let known = ["*", "userEnteredValue", "userEnteredFormat"];
        if let Some(name) = mask.names().find(|name| !known.contains(name)) {
            return Err(Refusal::invalid(format!(
                "The emulator does not keep the field '{name}' of a cell"
            )));
        }
        Ok(Self {
            value: mask.covers("userEnteredValue"),
            format: mask.covers("userEnteredFormat"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_text_is_read_as_sheets_reads_it() {
        use EnteredValue::{BoolValue, FormulaValue, NumberValue, StringValue};
        for (text, value) in [
            ("12.5", NumberValue(12.5)),
            (" -3 ", NumberValue(-3.0)),
            ("1e3", NumberValue(1000.0)),
            ("true", BoolValue(true)),
            ("=A1+1", FormulaValue("=A1+1".to_owned())),
            ("=", StringValue("=".to_owned())),
            ("'=A1", StringValue("=A1".to_owned())),
            ("inf", StringValue("inf".to_owned())),
            ("NaN", StringValue("NaN".to_owned())),
            ("1e999", StringValue("1e999".to_owned())),
            ("", StringValue(String::new())),
            ("2026-01-02", StringValue("2026-01-02".to_owned())),
        ] {
            assert_eq!(EnteredValue::typed(text), value, "{text:?}");
        }
    }

    #[test]
    fn numbers_look_as_entered() {
        assert_eq!(
            EnteredValue::NumberValue(5.0).render(Render::UnformattedValue),
            5
        );
        assert_eq!(
            EnteredValue::NumberValue(0.5).render(Render::UnformattedValue),
            0.5
        );
        assert_eq!(
            EnteredValue::NumberValue(5.0).render(Render::FormattedValue),
            "5"
        );
        assert_eq!(
            EnteredValue::BoolValue(true).render(Render::FormattedValue),
            "TRUE"
        );
    }
}
