//! The OpenAPI 3.1 description of the service, generated from the apps: all paths, media types and
//! responses.

use std::{collections::BTreeMap, sync::Arc};

use formline_core::app::Form;
use serde_json::{Map, Value, json};

use super::{
    paths::{definition_path, schema_path, submission_paths},
    schemas::{component, embedded, reference, shared_schemas},
};
use crate::{
    media_type::{HTML, JSON, JSON_SCHEMA, MULTIPART, PROBLEM, URL_ENCODED},
    problem::ProblemKind,
    submission::idempotency_key,
};

/// The problems of every resource.
const ALWAYS: [ProblemKind; 4] = [
    ProblemKind::UriTooLong,
    ProblemKind::HeadersTooLarge,
    ProblemKind::Internal,
    ProblemKind::Overloaded,
];

/// The problems of a submission.
const OF_SUBMISSIONS: [ProblemKind; 11] = [
    ProblemKind::Malformed,
    ProblemKind::BadIdempotencyKey,
    ProblemKind::ForbiddenOrigin,
    ProblemKind::Timeout,
    ProblemKind::InProgress,
    ProblemKind::TooLarge,
    ProblemKind::MediaType,
    ProblemKind::Invalid,
    ProblemKind::KeyReused,
    ProblemKind::RateLimited,
    ProblemKind::Unavailable,
];

/// The complete description.
pub(crate) fn describe(forms: &[Arc<Form>]) -> Value {
    let mut paths = Map::new();
    paths.insert(
        "/v1/forms".into(),
        get("list-forms", "All forms", JSON, &reference("Forms")),
    );
    paths.insert(
        "/openapi.json".into(),
        get(
            "describe",
            "This description",
            JSON,
            &json!({ "type": "object" }),
        ),
    );
    let mut schemas = shared_schemas();
    for form in forms {
        add_paths(&mut paths, form);
        schemas[component(form)] = embedded(form);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Formline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Accepts submissions of forms. A response 202 confirms that the submission is stored.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [],
        "tags": [{ "name": "submissions" }, { "name": "forms" }],
        "paths": paths,
        "components": { "schemas": schemas, "parameters": { "IdempotencyKey": idempotency_key() } },
    })
}

fn add_paths(paths: &mut Map<String, Value>, form: &Form) {
    let name = &form.name;
    let [path, _, submissions] = submission_paths(form);
    let title = form.schema.source()["title"].as_str().unwrap_or(name);
    let mut own = get(
        &format!("page-{name}"),
        &format!("{title}: HTML page"),
        HTML,
        &json!({ "type": "string" }),
    );
    // A page is not cached, so it has no response 304.
    if let Some(responses) = own["get"]["responses"].as_object_mut() {
        responses.shift_remove("304");
    }
    own["post"] = submit(form, &format!("post-{name}"), title);
    paths.insert(path, own);
    paths.insert(
        submissions,
        json!({ "post": submit(form, &format!("submit-{name}"), title) }),
    );
    let definition = get(
        &format!("form-{name}"),
        &format!("{title}: definition"),
        JSON,
        &reference("Form"),
    );
    paths.insert(definition_path(name), definition);
    let schema = get(
        &format!("schema-{name}"),
        &format!("{title}: schema"),
        JSON_SCHEMA,
        &json!({ "type": ["object", "boolean"] }),
    );
    paths.insert(schema_path(name), schema);
}

fn get(id: &str, summary: &str, media_type: &str, schema: &Value) -> Value {
    let ok = json!({
        "description": "The requested document",
        "headers": { "X-Request-Id": request_id() },
        "content": { media_type: { "schema": schema } },
    });
    let mut responses = problems(&ALWAYS);
    responses.insert("200".into(), ok);
    responses.insert(
        "304".into(),
        json!({ "description": "The document has not changed (If-None-Match)" }),
    );
    json!({ "get": { "operationId": id, "summary": summary, "tags": ["forms"], "responses": responses } })
}

fn submit(form: &Form, id: &str, title: &str) -> Value {
    let schema = reference(&component(form));
    let mut responses = problems(&[ALWAYS.as_slice(), OF_SUBMISSIONS.as_slice()].concat());
    responses.insert("202".into(), accepted());
    responses.insert(
        "303".into(),
        json!({
            "description": "Redirects a browser to one of the form's redirect addresses",
            "headers": { "Location": { "schema": { "type": "string" }, "required": true } },
        }),
    );
    // A browser gets the form again, with messages beside the fields.
    for status in ["409", "422", "503"] {
        responses[status]["content"][HTML] = json!({ "schema": { "type": "string" } });
    }
    json!({
        "operationId": id,
        "summary": format!("{title}: submit"),
        "description": "The texts of URL-encoded and multipart forms are converted to the types of the schema.",
        "tags": ["submissions"],
        "parameters": [{ "$ref": "#/components/parameters/IdempotencyKey" }],
        "requestBody": {
            "required": true,
            "content": {
                JSON: { "schema": schema },
                URL_ENCODED: { "schema": schema },
                MULTIPART: { "schema": schema },
            },
        },
        "responses": responses,
    })
}

fn accepted() -> Value {
    json!({
        "description": "The submission is stored. Repeating it with the same Idempotency-Key gets the same response.",
        "headers": {
            "X-Request-Id": request_id(),
            "Location": { "schema": { "type": "string", "format": "uri-reference" } },
            "Idempotency-Replayed": { "schema": { "type": "string", "const": "true" } },
        },
        "content": {
            JSON: { "schema": reference("Accepted") },
            HTML: { "schema": { "type": "string" } },
        },
    })
}

/// One response for each status, with the types of all its problems.
fn problems(kinds: &[ProblemKind]) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        by_status
            .entry(kind.status().as_u16())
            .or_default()
            .push(*kind);
    }
    let response = |(status, kinds): (u16, Vec<ProblemKind>)| {
        let types: Vec<String> = kinds.iter().map(|kind| kind.uri()).collect();
        let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
        let mut headers = json!({ "X-Request-Id": request_id() });
        if matches!(status, 409 | 429 | 503) {
            headers["Retry-After"] = json!({ "schema": { "type": "integer" }, "required": true });
        }
        let schema = json!({ "allOf": [
            reference("Problem"),
            { "properties": { "type": { "enum": types }, "status": { "const": status } } },
        ] });
        let described = json!({
            "description": titles.join(", or: "),
            "headers": headers,
            "content": { PROBLEM: { "schema": schema } },
        });
        (status.to_string(), described)
    };
    by_status.into_iter().map(response).collect()
}

fn request_id() -> Value {
    json!({ "schema": { "type": "string" }, "required": true })
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes it safe to repeat a submission within 24 hours: it is stored only once.",
        "schema": { "type": "string", "pattern": idempotency_key::PATTERN },
        "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_described() {
        let described = [ALWAYS.as_slice(), OF_SUBMISSIONS.as_slice()].concat();
        let without_form = [ProblemKind::NotFound, ProblemKind::MethodNotAllowed];
        let missing: Vec<ProblemKind> = ProblemKind::ALL
            .into_iter()
            .filter(|kind| !described.contains(kind) && !without_form.contains(kind))
            .collect();
        assert_eq!(missing, []);
    }
}
