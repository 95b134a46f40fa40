//! A cell: its entered value, and how it is rendered. Formulas are not calculated but returned as
//! text; number formats are stored but not applied.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::mask::FieldMask;

/// Maximum number of characters in a cell, as with Google. They are counted in UTF-16 units, which
/// is the stricter interpretation.
pub(crate) const MAX_CELL_CHARACTERS: usize = 50_000;

/// A value as a user or a program entered it (`ExtendedValue` of the API).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "the names of the API")]
pub(crate) enum EnteredValue {
    StringValue(String),
    NumberValue(f64),
    BoolValue(bool),
    FormulaValue(String),
}

/// The stored part of `CellData` of the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Cell {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_entered_value: Option<EnteredValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_entered_format: Option<Map<String, Value>>,
}

/// `RowData` of the API. It is stored without the empty cells at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Row {
    pub(crate) values: Vec<Cell>,
}

/// How values are rendered (`valueRenderOption`).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum RenderOption {
    FormattedValue,
    UnformattedValue,
    Formula,
}

/// How values are interpreted (`valueInputOption`).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum InputOption {
    Raw,
    UserEntered,
}

/// Which parts of a cell a request writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellFields {
    value: bool,
    format: bool,
}

// === impl InputOption ===

impl InputOption {
    /// The error of a missing option, which has no default.
    pub(crate) fn missing() -> ApiError {
        ApiError::invalid("'valueInputOption' is required but not specified")
    }
}

// === impl EnteredValue ===

impl EnteredValue {
    /// Converts a value of the values API. `None` clears the cell.
    pub(crate) fn from_input(value: &Value, input: InputOption) -> Result<Option<Self>, ApiError> {
        match value {
            Value::String(text) => Ok(match input {
                InputOption::Raw => Some(Self::StringValue(text.clone())),
                InputOption::UserEntered => Some(Self::parse(text)),
            }),
            Value::Bool(value) => Ok(Some(Self::BoolValue(*value))),
            Value::Number(number) => Ok(number.as_f64().map(Self::NumberValue)),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(ApiError::invalid(
                "Invalid values: a cell must be a string, a number or a boolean",
            )),
        }
    }

    /// Parses a text as if a user had typed it: formulas, booleans and plain numbers. Dates,
    /// percentages and currencies depend on the locale and remain texts.
    fn parse(text: &str) -> Self {
        if let Some(literal) = text.strip_prefix('\'') {
            return Self::StringValue(literal.to_owned());
        }
        if text.len() > 1 && text.starts_with('=') {
            return Self::FormulaValue(text.to_owned());
        }
        let word = text.trim();
        match (word.to_ascii_uppercase().as_str(), parse_number(word)) {
            ("TRUE", _) => Self::BoolValue(true),
            ("FALSE", _) => Self::BoolValue(false),
            (_, Some(number)) => Self::NumberValue(number),
            _ => Self::StringValue(text.to_owned()),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::StringValue(text) if text.is_empty())
    }

    /// Checks the limits of a value.
    fn check(&self) -> Result<(), ApiError> {
        let (Self::StringValue(text) | Self::FormulaValue(text)) = self else {
            return Ok(());
        };
        // A text has at least as many bytes as UTF-16 units, so counting is rarely necessary.
        if text.len() > MAX_CELL_CHARACTERS && text.encode_utf16().count() > MAX_CELL_CHARACTERS {
            return Err(ApiError::invalid(format!(
                "Your input contains more than the maximum of {MAX_CELL_CHARACTERS} characters in a single cell."
            )));
        }
        if matches!(self, Self::FormulaValue(formula) if !formula.starts_with('=')) {
            return Err(ApiError::invalid("A formulaValue must start with '='"));
        }
        Ok(())
    }

    /// The value as JSON.
    pub(crate) fn render(&self, render: RenderOption) -> Value {
        match (self, render) {
            (Self::NumberValue(number), RenderOption::UnformattedValue | RenderOption::Formula) => {
                json_number(*number)
            }
            (Self::BoolValue(value), RenderOption::UnformattedValue | RenderOption::Formula) => {
                (*value).into()
            }
            (value, _) => value.display().into(),
        }
    }

    /// The value as the text that a user sees.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::StringValue(text) | Self::FormulaValue(text) => text.clone(),
            Self::NumberValue(number) => number.to_string(),
            Self::BoolValue(value) => value.to_string().to_uppercase(),
        }
    }
}

/// Parses a number of digits; `f64` alone would also accept `inf` and `nan`.
fn parse_number(word: &str) -> Option<f64> {
    let numeric = word
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number: f64 = numeric.then(|| word.parse().ok())??;
    number.is_finite().then_some(number)
}

/// A number as JSON. Like Google, it writes integers without a decimal point.
fn json_number(number: f64) -> Value {
    serde_json::from_str(&number.to_string()).unwrap_or(Value::Null)
}

// === impl Cell ===

impl Cell {
    /// Assigns the given fields of `source`, including empty ones.
    pub(crate) fn assign(&mut self, source: &Self, fields: CellFields) {
        if fields.value {
            let value = source.user_entered_value.clone();
            self.user_entered_value = value.filter(|value| !value.is_empty());
        }
        if fields.format {
            self.user_entered_format
                .clone_from(&source.user_entered_format);
        }
    }

    /// Checks the limits of the value.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        self.user_entered_value
            .as_ref()
            .map_or(Ok(()), EnteredValue::check)
    }

    /// Whether the text is bold.
    pub(crate) fn is_bold(&self) -> bool {
        let format = self.user_entered_format.as_ref();
        format
            .and_then(|f| f.get("textFormat")?.get("bold")?.as_bool())
            .unwrap_or(false)
    }
}

// === impl Row ===

impl Row {
    /// The cell of a column, which is created if necessary.
    pub(crate) fn cell_mut(&mut self, column: u32) -> &mut Cell {
        let column = column as usize;
        if self.values.len() <= column {
            self.values.resize_with(column + 1, Cell::default);
        }
        &mut self.values[column]
    }

    /// Whether the row has a value; `appendCells` writes after the last such row.
    pub(crate) fn has_data(&self) -> bool {
        self.values
            .iter()
            .any(|cell| cell.user_entered_value.is_some())
    }

    /// Removes the empty cells at the end. Returns `false` if the row is empty.
    pub(crate) fn trim(&mut self) -> bool {
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
    /// Only the value.
    pub(crate) const VALUE: Self = Self {
        value: true,
        format: false,
    };

    /// Parses the mask of `appendCells` and `updateCells`, which is relative to the cell.
    pub(crate) fn parse(mask: &str) -> Result<Self, ApiError> {
        let Some(mask) = FieldMask::parse(mask)? else {
            return Err(ApiError::invalid(
                "At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)",
            ));
        };
        let known = ["*", "userEnteredValue", "userEnteredFormat"];
        if let Some(name) = mask.names().find(|name| !known.contains(name)) {
            return Err(ApiError::invalid(format!(
                "The emulator does not store the field '{name}' of a cell"
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
    fn texts_are_parsed_like_in_sheets() {
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
            assert_eq!(EnteredValue::parse(text), value, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_rendered_as_entered() {
        assert_eq!(
            EnteredValue::NumberValue(5.0).render(RenderOption::UnformattedValue),
            5
        );
        assert_eq!(
            EnteredValue::NumberValue(0.5).render(RenderOption::UnformattedValue),
            0.5
        );
        assert_eq!(
            EnteredValue::NumberValue(5.0).render(RenderOption::FormattedValue),
            "5"
        );
        assert_eq!(
            EnteredValue::BoolValue(true).render(RenderOption::FormattedValue),
            "TRUE"
        );
    }
}
