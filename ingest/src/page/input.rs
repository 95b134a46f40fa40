//! One field of the page: its label, its control with the bounds of the schema, its hint and its errors.

use formline_core::schema::Violation;
use maud::{Markup, html};
use serde_json::Value;

use super::{message::message, pattern};
use crate::fields::{Field, Kind};

/// A field, what was entered into it and what is wrong with that.
pub(super) struct Input<'a> {
    pub(super) id: String,
    pub(super) field: &'a Field,
    pub(super) entered: &'a Value,
    pub(super) errors: Vec<&'a Violation>,
}

/// From this length on a text gets room for several lines.
const LONG_TEXT: u64 = 200;

/// Lines for a list that names no bound.
const LIST_LINES: usize = 3;

// === impl Input ===

impl Input<'_> {
    pub(super) fn markup(&self) -> Markup {
        let schema = &self.field.schema;
        let choices = schema["enum"].as_array();
        match &self.field.kind {
            Kind::Object => {
                html! { p.hint { (self.label()) ": only programs can send this part." } }
            }
            Kind::Boolean => self.checkbox(),
            Kind::List(_) => match schema["items"]["enum"].as_array() {
                Some(choices) => self.group(&html! { @for one in choices { (self.box_of(one)) } }),
                None => self.group(&self.lines()),
            },
            Kind::Text | Kind::Number => match choices {
                Some(choices) => self.labelled(&self.select(choices)),
                None if self.is_long() => self.labelled(&self.textarea()),
                None => self.labelled(&self.line(self.entered, self.label())),
            },
        }
    }

    pub(super) fn label(&self) -> &str {
        self.field.schema["title"]
            .as_str()
            .unwrap_or(&self.field.name)
    }

    fn labelled(&self, control: &Markup) -> Markup {
        html! {
            label for=(self.id) { (self.label()) (self.mark()) }
            (self.notes())
            (control)
        }
    }

    fn group(&self, controls: &Markup) -> Markup {
        html! {
            // For the link to its errors to have a target that takes the focus.
            fieldset id=(self.id) tabindex="-1" aria-describedby=[self.described_by()] {
                legend { (self.label()) (self.mark()) }
                (self.notes())
                (controls)
            }
        }
    }

    /// What people see of `required`; screen readers know it from the attribute, except of a group.
    fn mark(&self) -> Markup {
        let is_group = matches!(self.field.kind, Kind::List(_));
        html! {
            @if self.must_be_filled() { span.mark aria-hidden=[(!is_group).then_some("true")] { " *" } }
        }
    }

    /// A box that need not be ticked is complete as it is.
    pub(super) fn must_be_filled(&self) -> bool {
        match self.field.kind {
            Kind::Boolean => self.field.required && self.field.schema["const"] == true,
            Kind::Object => false,
            Kind::Text | Kind::Number | Kind::List(_) => self.field.required,
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

    /// What is wrong with it, each thing once.
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

    /// Errors first: a screen reader reads them in this order.
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

    /// A field of one line, alone or as an element of a list.
    fn line(&self, entered: &Value, label: &str) -> Markup {
        let is_list = matches!(self.field.kind, Kind::List(_));
        let schema = if is_list {
            &self.field.schema["items"]
        } else {
            &self.field.schema
        };
        let bound = |keyword: &str| schema[keyword].as_number().map(ToString::to_string);
        let number = matches!(&self.field.kind, Kind::Number)
            || matches!(&self.field.kind, Kind::List(items) if **items == Kind::Number);
        let step = if schema["type"] == "integer" {
            "1"
        } else {
            "any"
        };
        let kind = if number {
            "number"
        } else {
            type_of(schema).unwrap_or("text")
        };
        let pattern = schema["pattern"].as_str().map(pattern::attribute);
        // Browsers show it when the pattern does not match.
        let title = pattern
            .as_ref()
            .and(self.field.schema["description"].as_str());
        html! {
            input id=[(!is_list).then_some(&self.id)] name=(self.field.name)
                type=(kind) autocomplete=[(kind == "email").then_some("email")]
                required[self.field.required && !is_list]
                step=[number.then_some(step)] min=[bound("minimum")] max=[bound("maximum")]
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
                // HTML drops the first line feed.
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

    /// A box to tick. It must be ticked only where the schema allows nothing else.
    fn checkbox(&self) -> Markup {
        html! {
            (self.notes())
            label.box for=(self.id) {
                input id=(self.id) name=(self.field.name) type="checkbox" value="true"
                    checked[*self.entered == true] required[self.must_be_filled()]
                    aria-invalid=[self.invalid()] aria-describedby=[self.described_by()];
                (self.label()) (self.mark())
            }
        }
    }

    fn box_of(&self, choice: &Value) -> Markup {
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

    /// One line per element: what was entered and room for more.
    fn lines(&self) -> Markup {
        let entered = self
            .entered
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let bound = |keyword: &str| {
            let bound = self.field.schema[keyword].as_u64();
            bound.and_then(|bound| usize::try_from(bound).ok())
        };
        let most = bound("maxItems")
            .unwrap_or(usize::MAX)
            .min(entered.len() + LIST_LINES);
        let count = bound("minItems")
            .unwrap_or(0)
            .clamp(LIST_LINES.min(most), most);
        let count = count.max(entered.len());
        html! {
            @for n in 0..count {
                (self.line(entered.get(n).unwrap_or(&Value::Null), &format!("{} {}", self.label(), n + 1)))
            }
        }
    }

    fn is_long(&self) -> bool {
        self.field.kind == Kind::Text
            && type_of(&self.field.schema).is_none()
            && self.field.schema["maxLength"]
                .as_u64()
                .is_some_and(|length| length > LONG_TEXT)
    }
}

/// The type of input that helps with a text of that format, if there is one. A browser's `datetime-local` has no time
/// zone and would not satisfy `date-time`.
fn type_of(schema: &Value) -> Option<&'static str> {
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
