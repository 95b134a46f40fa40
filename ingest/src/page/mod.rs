//! A form as a plain page: no script, nothing from elsewhere, usable with a keyboard and a screen reader.

mod html;
mod input;
mod message;
mod pattern;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use formline_core::{app::Form, schema::Violation};
use maud::{Markup, html};
use serde_json::Value;

pub(crate) use self::html::Html;
use self::input::Input;
use crate::{
    fields::{Field, Fields},
    problem::Problem,
};

/// The parts of a form's page that do not change.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    description: Option<String>,
    honeypot: Option<String>,
    policy: HeaderValue,
}

// === impl Page ===

impl Page {
    /// Title and description are the schema's.
    pub(crate) fn new(form: &Form) -> Self {
        let schema = form.schema.source();
        Self {
            title: schema["title"].as_str().unwrap_or(&form.name).to_owned(),
            description: schema["description"].as_str().map(str::to_owned),
            honeypot: form.honeypot.clone(),
            policy: html::policy(&form.redirect, &form.origins),
        }
    }

    /// The form to fill in.
    pub(crate) fn empty(&self, fields: &Fields) -> Response {
        let inputs = inputs(fields, &Value::Null, &[]);
        self.html(&self.form(&inputs, &html! {})).into_response()
    }

    /// The form again, with what was entered, and beside each field what is wrong with it.
    pub(crate) fn again(&self, fields: &Fields, entered: &Value, problem: Problem) -> Problem {
        let inputs = inputs(fields, entered, &problem.errors);
        // The title is what a screen reader reads first.
        let title = format!("Not sent: {}", self.title);
        let form = self.form(&inputs, &summary(&inputs, &problem));
        let page = Html::new(&title, &self.title, &form, self.policy.clone());
        problem.shown_as(page)
    }

    /// After a submission: on to the address, or thanks in place.
    pub(crate) fn thanks(&self, redirect: Option<&str>) -> Response {
        match redirect.and_then(|address| HeaderValue::from_str(address).ok()) {
            Some(address) => (StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response(),
            None => {
                let thanks =
                    html! { p role="status" { "Thank you. Your submission was received." } };
                (StatusCode::ACCEPTED, self.html(&thanks)).into_response()
            }
        }
    }

    fn html(&self, content: &Markup) -> Html {
        Html::new(&self.title, &self.title, content, self.policy.clone())
    }

    fn form(&self, inputs: &[Input<'_>], summary: &Markup) -> Markup {
        html! {
            (summary)
            @if let Some(description) = &self.description { p { (description) } }
            @if inputs.iter().any(Input::must_be_filled) {
                p.hint { "Fields with " span.mark { "*" } " must be filled in." }
            }
            // Without `action` it is posted to the address it came from, `?redirect=` included.
            form method="post" {
                @for input in inputs { (input.markup()) }
                @if let Some(name) = &self.honeypot {
                    div.away aria-hidden="true" {
                        label for="extra" { "Leave this empty" }
                        input #extra name=(name) tabindex="-1" autocomplete="off";
                    }
                }
                button { "Send" }
            }
        }
    }
}

fn inputs<'a>(fields: &'a Fields, entered: &'a Value, errors: &'a [Violation]) -> Vec<Input<'a>> {
    let input = |(n, field): (usize, &'a Field)| Input {
        id: format!("field-{n}"),
        field,
        entered: &entered[&field.name],
        errors: errors
            .iter()
            .filter(|error| concerns(error, &field.name))
            .collect(),
    };
    fields.iter().enumerate().map(input).collect()
}

/// What happened, with a link to each field that is wrong.
fn summary(inputs: &[Input<'_>], problem: &Problem) -> Markup {
    let has_field = |error: &&Violation| {
        inputs
            .iter()
            .any(|input| concerns(error, &input.field.name))
    };
    let elsewhere = problem.errors.iter().filter(|error| !has_field(error));
    let wrong: Vec<_> = inputs
        .iter()
        .filter(|input| !input.errors.is_empty())
        .collect();
    html! {
        div.summary role="alert" {
            p.error { (problem.kind.title()) "." }
            @if problem.errors.is_empty() { p.error { (problem.detail) } }
            @for error in elsewhere { p.error { (error.detail) } }
            @if !wrong.is_empty() {
                ul { @for input in wrong {
                    li { a href=(format!("#{}", input.id)) { (input.label()) ": " (input.messages().join(" ")) } }
                } }
            }
        }
    }
}

/// Whether the violation lies in that field.
fn concerns(error: &Violation, field: &str) -> bool {
    let inside = error
        .pointer
        .strip_prefix("#/")
        .and_then(|path| path.split('/').next());
    inside.is_some_and(|name| name == crate::numbers::escape(field))
}

#[cfg(test)]
mod tests {
    use formline_core::schema::Violation;
    use serde_json::json;

    use super::*;
    use crate::problem::Kind;

    fn page() -> (Page, Fields) {
        let schema = json!({
            "properties": {
                "roll": { "type": "string", "title": "Roll <no>", "pattern": "^[0-9-]+$",
                    "description": "As on your card" },
                "age": { "type": "integer", "minimum": 16, "maximum": 99, "description": "In years" },
                "news": { "type": "boolean" },
                "mail": { "type": "string", "format": "email", "maxLength": 254 },
                "size": { "enum": ["S", "M"] },
                "days": { "type": "array", "items": { "enum": ["Mon", "Tue"] } },
                "tags": { "type": "array", "items": { "type": "string" } },
                "essay": { "type": "string", "maxLength": 4000 },
                "nested": { "type": "object" },
            },
            "required": ["roll"],
        });
        let page = Page {
            title: "Enrol & more".into(),
            description: None,
            honeypot: Some("website".into()),
            policy: html::policy(&[], &[]),
        };
        (page, Fields::of(&schema))
    }

    fn form(entered: &Value, errors: &[Violation]) -> String {
        let (page, fields) = page();
        page.form(&inputs(&fields, entered, errors), &html! {})
            .into_string()
    }

    #[test]
    fn every_field_has_a_label_and_the_bounds_of_its_schema() {
        let form = form(&Value::Null, &[]);
        for part in [
            r#"<label for="field-0">Roll &lt;no&gt;<span class="mark" aria-hidden="true"> *</span></label>"#,
            r#"<label for="field-1">age</label>"#,
            "Fields with",
            r#"id="field-0" name="roll" type="text" required"#,
            r#"pattern="[\s\S]*(?:^[0-9\-]+$)[\s\S]*" title="As on your card""#,
            r#"type="number" step="1" min="16" max="99" aria-describedby="field-1-hint""#,
            r#"type="checkbox" value="true""#,
            r#"type="email" autocomplete="email" maxlength="254""#,
            r#"<option value="S">"#,
            r#"name="days" type="checkbox" value="Mon""#,
            "<textarea",
            r#"name="website" tabindex="-1""#,
            r#"aria-hidden="true""#,
        ] {
            assert!(form.contains(part), "{part} in\n{form}");
        }
    }

    #[test]
    fn entered_values_are_kept_and_errors_stand_beside_their_field() {
        let entered = json!({
            "roll": "\"><script>", "age": 3, "news": true, "size": "M", "days": ["Tue"],
            "tags": ["x"], "essay": "</textarea>",
        });
        let detail = "3 is less than the minimum of 16".to_owned();
        let error = Violation {
            pointer: "#/age".into(),
            detail,
            keyword: "minimum".into(),
        };
        let form = form(&entered, &[error]);
        for part in [
            r#"value="&quot;&gt;&lt;script&gt;""#,
            r#"value="3""#,
            r#"value="true" checked"#,
            r#"<option value="M" selected>"#,
            r#"value="Tue" checked"#,
            r#"value="x""#,
            "&lt;/textarea&gt;",
            r#"aria-invalid="true" aria-describedby="field-1-error field-1-hint""#,
            r#"id="field-1-error">3 is less than the minimum of 16"#,
        ] {
            assert!(form.contains(part), "{part} in\n{form}");
        }
    }

    #[test]
    fn the_summary_leads_to_every_wrong_field_and_shows_no_pattern() {
        let (_, fields) = page();
        let error = |pointer: &str, keyword: &str, detail: &str| Violation {
            pointer: pointer.into(),
            detail: detail.into(),
            keyword: keyword.into(),
        };
        let errors = vec![
            error("#/roll", "pattern", r#""x" does not match "^[0-9-]+$""#),
            error("#/days/0", "enum", r#""Sun" is not one of "Mon" or "Tue""#),
            error("#/days/1", "enum", r#""Sun" is not one of "Mon" or "Tue""#),
            error("#", "additionalProperties", "'x' was unexpected"),
        ];
        let inputs = inputs(&fields, &Value::Null, &errors);
        let summary = summary(&inputs, &Problem::invalid(errors.clone())).into_string();
        for part in [
            r##"<a href="#field-0">Roll &lt;no&gt;: Not as expected: As on your card</a>"##,
            r##"<a href="#field-5">days: &quot;Sun&quot; is not one of &quot;Mon&quot; or &quot;Tue&quot;</a>"##,
            "<p class=\"error\">'x' was unexpected</p>",
        ] {
            assert!(summary.contains(part), "{part} in\n{summary}");
        }
        assert_eq!(summary.matches("<li>").count(), 2, "{summary}");
        let form = form(&Value::Null, &errors);
        assert!(!form.contains("does not match"), "{form}");
        assert!(
            form.contains(r#"<fieldset id="field-5" tabindex="-1""#),
            "{form}"
        );
    }

    #[test]
    fn a_problem_is_shown_with_its_status() {
        let (page, fields) = page();
        let problem = page.again(
            &fields,
            &json!({}),
            Problem::new(Kind::Unavailable, "try again"),
        );
        assert_eq!(problem.kind, Kind::Unavailable);
        assert_eq!(
            problem.into_response().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }

    #[test]
    fn without_an_address_to_go_to_the_person_is_thanked_in_place() {
        let (page, _) = page();
        assert_eq!(page.thanks(None).status(), StatusCode::ACCEPTED);
        let away = page.thanks(Some("https://example.org/thanks"));
        assert_eq!(away.status(), StatusCode::SEE_OTHER);
        assert_eq!(
            away.headers()[header::LOCATION],
            "https://example.org/thanks"
        );
    }
}
