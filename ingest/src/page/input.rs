//! One field of the page: its label, its control with the bounds from the schema, its hint and its
//! errors.

use formline_core::app::schema::Violation;
use maud::{Markup, html};
use serde_json::Value;

use super::{message::message, pattern};
use crate::submission::fields::{Field, FieldType};

/// A field, its entered value and the violations of that value.
pub(super) struct Input<'a> {
    pub(super) id: String,
    pub(super) field: &'a Field,
    pub(super) entered: &'a Value,
    pub(super) errors: Vec<&'a Violation>,
}

/// A text whose maximum length is greater gets a text area.
const LONG_TEXT: u64 = 200;

/// The number of inputs for a list without bounds.
const LIST_INPUTS: usize = 3;

// === impl Input ===

impl Input<'_> {
    /// Renders the field.
    pub(super) fn markup(&self) -> Markup {
        let schema = &self.field.schema;
        let choices = schema["enum"].as_array();
        match &self.field.field_type {
            FieldType::Object => {
                html! { p.hint { (self.label()) ": this field can only be filled in by a program." } }
            }
            FieldType::Boolean => self.checkbox(),
            FieldType::List(_) => match schema["items"]["enum"].as_array() {
                Some(choices) => {
                    self.group(&html! { @for choice in choices { (self.choice_checkbox(choice)) } })
                }
                None => self.group(&self.list_inputs()),
            },
            FieldType::Text | FieldType::Number => match choices {
                Some(choices) => self.labelled(&self.select(choices)),
                None if self.is_long() => self.labelled(&self.textarea()),
                None => self.labelled(&self.line_input(self.entered, self.label())),
            },
        }
    }

    /// The title from the schema, or else the name of the field.
    pub(super) fn label(&self) -> &str {
        self.field.schema["title"]
            .as_str()
            .unwrap_or(&self.field.name)
    }

    fn labelled(&self, control: &Markup) -> Markup {
        html! {
            label for=(self.id) { (self.label()) (self.required_mark()) }
            (self.notes())
            (control)
        }
    }

    fn group(&self, controls: &Markup) -> Markup {
        html! {
            // `tabindex` makes the group focusable, so that the link in the summary can lead to it.
            fieldset id=(self.id) tabindex="-1" aria-describedby=[self.described_by()] {
                legend { (self.label()) (self.required_mark()) }
                (self.notes())
                (controls)
            }
        }
    }

    /// The visible mark of a required field. Screen readers announce `required` themselves, except
    /// for a group.
    fn required_mark(&self) -> Markup {
        let is_group = matches!(self.field.field_type, FieldType::List(_));
        html! {
            @if self.is_required() { span.mark aria-hidden=[(!is_group).then_some("true")] { " *" } }
        }
    }

    /// Whether the user must fill in the field. A checkbox is only required if it must be checked.
    pub(super) fn is_required(&self) -> bool {
        match self.field.field_type {
            FieldType::Boolean => self.field.required && self.field.schema["const"] == true,
            FieldType::Object => false,
            FieldType::Text | FieldType::Number | FieldType::List(_) => self.field.required,
        }
    }

    fn notes(&self) -> Markup {
        html! {
            @if let Some(hint) = self.field.schema["description"].as_str() {
                p.hint id=(format!("{}-hint", self.id)) { (hint) }
            }
            @if !self.errors.is_empty() {
                p.error id=(format!("{}-error", self.id)) {
                    @for message in self.messages() { (message) " " }
                }
            }
        }
    }

    /// The messages about the violations, without duplicates.
    pub(super) fn messages(&self) -> Vec<String> {
        let mut messages = Vec::with_capacity(self.errors.len());
        for error in &self.errors {
            let message = message(error, self.field);
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
        messages
    }

    /// The value of `aria-describedby`. Errors come first, because screen readers read in this
    /// order.
    fn described_by(&self) -> Option<String> {
        let error = (!self.errors.is_empty()).then(|| format!("{}-error", self.id));
        let hint = self.field.schema["description"]
            .as_str()
            .map(|_| format!("{}-hint", self.id));
        let ids: Vec<String> = error.into_iter().chain(hint).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    fn invalid(&self) -> Option<&'static str> {
        (!self.errors.is_empty()).then_some("true")
    }

    /// An input of one line, alone or as an element of a list.
    fn line_input(&self, entered: &Value, label: &str) -> Markup {
        let is_list = matches!(self.field.field_type, FieldType::List(_));
        let schema = if is_list {
            &self.field.schema["items"]
        } else {
            &self.field.schema
        };
        let bound = |keyword: &str| schema[keyword].as_number().map(ToString::to_string);
        let is_number = match &self.field.field_type {
            FieldType::List(items) => **items == FieldType::Number,
            field_type => *field_type == FieldType::Number,
        };
        let step = if schema["type"] == "integer" {
            "1"
        } else {
            "any"
        };
        let input_type = if is_number {
            "number"
        } else {
            format_type(schema).unwrap_or("text")
        };
        let pattern = schema["pattern"].as_str().map(pattern::attribute);
        // Browsers show the title when the pattern does not match.
        let title = pattern
            .as_ref()
            .and(self.field.schema["description"].as_str());
        html! {
            input id=[(!is_list).then_some(&self.id)] name=(self.field.name)
                type=(input_type) autocomplete=[(input_type == "email").then_some("email")]
                required[self.field.required && !is_list]
                step=[is_number.then_some(step)] min=[bound("minimum")] max=[bound("maximum")]
                minlength=[bound("minLength")] maxlength=[bound("maxLength")]
                pattern=[pattern] title=[title]
                value=[text(entered)] aria-invalid=[self.invalid()]
                aria-label=[is_list.then_some(label)]
                aria-describedby=[self.described_by().filter(|_| !is_list)];
        }
    }

    fn textarea(&self) -> Markup {
        let bound = |keyword: &str| {
            self.field.schema[keyword]
                .as_number()
                .map(ToString::to_string)
        };
        html! {
            textarea id=(self.id) name=(self.field.name) rows="6" required[self.field.required]
                minlength=[bound("minLength")] maxlength=[bound("maxLength")]
                aria-invalid=[self.invalid()] aria-describedby=[self.described_by()] {
                // HTML ignores the first line feed.
                "\n" (text(self.entered).unwrap_or_default())
            }
        }
    }

    fn select(&self, choices: &[Value]) -> Markup {
        html! {
            select id=(self.id) name=(self.field.name) required[self.field.required]
                aria-invalid=[self.invalid()] aria-describedby=[self.described_by()] {
                option value="" {}
                @for choice in choices {
                    @let label = text(choice).unwrap_or_default();
                    option value=(label) selected[choice == self.entered] { (label) }
                }
            }
        }
    }

    /// A checkbox. It must be checked only if the schema allows no other value.
    fn checkbox(&self) -> Markup {
        html! {
            (self.notes())
            label.box for=(self.id) {
                input id=(self.id) name=(self.field.name) type="checkbox" value="true"
                    checked[*self.entered == true] required[self.is_required()]
                    aria-invalid=[self.invalid()] aria-describedby=[self.described_by()];
                (self.label()) (self.required_mark())
            }
        }
    }

    fn choice_checkbox(&self, choice: &Value) -> Markup {
        let label = text(choice).unwrap_or_default();
        let chosen = self
            .entered
            .as_array()
            .is_some_and(|chosen| chosen.contains(choice));
        html! {
            label {
                input name=(self.field.name) type="checkbox" value=(label) checked[chosen];
                (label)
            }
        }
    }

    /// One input for each entered element, and empty inputs for more.
    fn list_inputs(&self) -> Markup {
        let entered = self
            .entered
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let bound = |keyword: &str| {
            let bound = self.field.schema[keyword].as_u64();
            bound.and_then(|bound| usize::try_from(bound).ok())
        };
        let max = bound("maxItems")
            .unwrap_or(usize::MAX)
            .min(entered.len() + LIST_INPUTS);
        let count = bound("minItems")
            .unwrap_or(0)
            .clamp(LIST_INPUTS.min(max), max);
        let count = count.max(entered.len());
        html! {
            @for n in 0..count {
                (self.line_input(entered.get(n).unwrap_or(&Value::Null), &format!("{} {}", self.label(), n + 1)))
            }
        }
    }

    fn is_long(&self) -> bool {
        self.field.field_type == FieldType::Text
            && format_type(&self.field.schema).is_none()
            && self.field.schema["maxLength"]
                .as_u64()
                .is_some_and(|length| length > LONG_TEXT)
    }
}

/// The type of input for a `format`, if there is one. `date-time` has none, because the value of
/// `datetime-local` has no time zone.
fn format_type(schema: &Value) -> Option<&'static str> {
    match schema["format"].as_str() {
        Some("email") => Some("email"),
        Some("uri") => Some("url"),
        Some("date") => Some("date"),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
