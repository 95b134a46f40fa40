//! The page of a form: empty, with the errors of a submission, or as the confirmation of one.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use formline_core::app::{Form, schema::Violation};
use maud::{Markup, html};
use serde_json::Value;

use super::input::Input;
use crate::{
    html::{self, Html},
    problem::Problem,
    submission::{
        fields::{Field, Fields},
        json_pointer::escape,
    },
};

/// The constant parts of a form's page.
#[derive(Debug)]
pub(crate) struct FormPage {
    title: String,
    description: Option<String>,
    honeypot: Option<String>,
    policy: HeaderValue,
}

// === impl FormPage ===

impl FormPage {
    /// Takes title and description from the schema of the form.
    pub(crate) fn new(form: &Form) -> Self {
        let schema = form.schema.source();
        Self {
            title: schema["title"].as_str().unwrap_or(&form.name).to_owned(),
            description: schema["description"].as_str().map(str::to_owned),
            honeypot: form.honeypot.clone(),
            policy: html::policy(&form.redirect, &form.origins),
        }
    }

    /// The empty form.
    pub(crate) fn empty(&self, fields: &Fields) -> Response {
        let inputs = inputs(fields, &Value::Null, &[]);
        self.html(&self.form(&inputs, &html! {})).into_response()
    }

    /// Adds a page to a problem: the form with the entered values, and messages beside the fields
    /// that are not valid.
    pub(crate) fn with_problem(
        &self,
        fields: &Fields,
        entered: &Value,
        problem: Problem,
    ) -> Problem {
        let inputs = inputs(fields, entered, &problem.errors);
        // Screen readers read the title first, so it says that the submission was not sent.
        let title = format!("Not sent: {}", self.title);
        let form = self.form(&inputs, &summary(&inputs, &problem));
        let page = Html::new(&title, &self.title, &form, self.policy.clone());
        problem.with_page(page)
    }

    /// The response to an accepted submission: a redirect, or a confirmation.
    pub(crate) fn confirmation(&self, redirect: Option<&str>) -> Response {
        match redirect.and_then(|address| HeaderValue::from_str(address).ok()) {
            Some(address) => (StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response(),
            None => {
                let message =
                    html! { p role="status" { "Thank you. Your submission has been received." } };
                (StatusCode::ACCEPTED, self.html(&message)).into_response()
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
            @if inputs.iter().any(Input::is_required) {
                p.hint { "Fields marked with " span.mark { "*" } " are required." }
            }
            // Without `action`, the browser posts to the URL of the page, including `?redirect=`.
            form method="post" {
                @for input in inputs { (input.markup()) }
                @if let Some(name) = &self.honeypot {
                    div.away aria-hidden="true" {
                        label for="extra" { "Leave this field empty" }
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

/// The summary of a problem, with a link to each field that is not valid.
fn summary(inputs: &[Input<'_>], problem: &Problem) -> Markup {
    let has_field = |error: &&Violation| {
        inputs
            .iter()
            .any(|input| concerns(error, &input.field.name))
    };
    let without_field = problem.errors.iter().filter(|error| !has_field(error));
    let invalid: Vec<_> = inputs
        .iter()
        .filter(|input| !input.errors.is_empty())
        .collect();
    html! {
        div.summary role="alert" {
            p.error { (problem.kind.title()) "." }
            @if problem.errors.is_empty() { p.error { (problem.detail) } }
            @for error in without_field { p.error { (error.detail) } }
            @if !invalid.is_empty() {
                ul { @for input in invalid {
                    li { a href=(format!("#{}", input.id)) { (input.label()) ": " (input.messages().join(" ")) } }
                } }
            }
        }
    }
}

/// Whether the violation belongs to the field or to a value inside it.
fn concerns(error: &Violation, field: &str) -> bool {
    let inside = error
        .pointer
        .strip_prefix("#/")
        .and_then(|path| path.split('/').next());
    inside.is_some_and(|name| name == escape(field))
}

#[cfg(test)]
mod tests {
    use formline_core::app::schema::Violation;
    use serde_json::json;

    use super::*;
    use crate::problem::ProblemKind;

    fn page() -> (FormPage, Fields) {
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
        let page = FormPage {
            title: "Enrol & more".into(),
            description: None,
            honeypot: Some("website".into()),
            policy: html::policy(&[], &[]),
        };
        (page, Fields::from_schema(&schema))
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
            "Fields marked with",
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
    fn entered_values_are_kept_and_errors_are_beside_their_field() {
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
    fn the_summary_links_to_every_invalid_field_and_shows_no_pattern() {
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
            r##"<a href="#field-0">Roll &lt;no&gt;: This is not in the expected format: As on your card</a>"##,
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
    fn a_page_keeps_the_status_of_its_problem() {
        let (page, fields) = page();
        let problem = page.with_problem(
            &fields,
            &json!({}),
            Problem::new(ProblemKind::Unavailable, "try again"),
        );
        assert_eq!(problem.kind, ProblemKind::Unavailable);
        assert_eq!(
            problem.into_response().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }

    #[test]
    fn the_confirmation_redirects_if_there_is_an_address() {
        let (page, _) = page();
        assert_eq!(page.confirmation(None).status(), StatusCode::ACCEPTED);
        let redirect = page.confirmation(Some("https://example.org/thanks"));
        assert_eq!(redirect.status(), StatusCode::SEE_OTHER);
        assert_eq!(
            redirect.headers()[header::LOCATION],
            "https://example.org/thanks"
        );
    }
}
