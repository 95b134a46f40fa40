//! Conversion of TOML values to the types of keys. A value of another type is reported.

use std::ops::{Range, RangeInclusive};

use serde_json::Value;
use toml::{Spanned, de::DeValue};

use super::document::Document;

pub(super) type TomlValue<'a> = Spanned<DeValue<'a>>;

// === impl Document ===

impl Document<'_> {
    pub(super) fn text_value(&self, value: &TomlValue<'_>) -> Option<String> {
        match value.get_ref().as_str() {
            Some(text) => self.expand(&value.span(), text),
            None => self.wrong_type(value, "a string in quotes"),
        }
    }

    pub(super) fn flag_value(&self, value: &TomlValue<'_>) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        flag.or_else(|| self.wrong_type(value, "true or false"))
    }

    pub(super) fn integer_value(
        &self,
        value: &TomlValue<'_>,
        range: &RangeInclusive<i64>,
    ) -> Option<i64> {
        let written = value.get_ref().as_integer();
        let Some(number) = written.and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok())
        else {
            return self.wrong_type(value, "a whole number");
        };
        if !range.contains(&number) {
            let problem = format_args!("{number} is out of range");
            let remedy = format_args!("write {} to {}", range.start(), range.end());
            self.report(&value.span(), problem, remedy);
            return None;
        }
        Some(number)
    }

    pub(super) fn json_value(&self, value: &TomlValue<'_>) -> Value {
        let span = value.span();
        match value.get_ref() {
            DeValue::String(text) => Value::String(self.expand(&span, text).unwrap_or_default()),
            DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
                Ok(number) => number.into(),
                Err(_) => self.not_json(&span, "the number is too large"),
            },
            DeValue::Float(f) => {
                let number = f.as_str().parse().ok();
                match number.and_then(serde_json::Number::from_f64) {
                    Some(number) => Value::Number(number),
                    None => self.not_json(&span, "JSON has no such number"),
                }
            }
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Array(items) => items.iter().map(|item| self.json_value(item)).collect(),
            DeValue::Table(table) => table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), self.json_value(value)))
                .collect(),
        }
    }

    fn not_json(&self, at: &Range<usize>, problem: &str) -> Value {
        self.report(at, problem, "write a number of at most 64 bits");
        Value::Null
    }

    /// Reports a value of another type. Always returns `None`.
    pub(super) fn wrong_type<T>(&self, value: &TomlValue<'_>, expected: &str) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let problem = format_args!("this value is {found}");
        self.report(&value.span(), problem, format_args!("write {expected}"));
        None
    }
}
