//! The OpenAPI 3.1 description of the service, made from the apps: every address, media type and answer.

use std::{collections::BTreeMap, sync::Arc};

use formline_core::app::Form;
use serde_json::{Map, Value, json};

use crate::{
    definitions::{SCHEMA, schema_path},
    keys,
    media::{JSON, MULTIPART, URL_ENCODED},
    numbers::escape,
    problem::{self, Kind},
    routes::submission_paths,
};

/// Problems that every address can answer.
const ALWAYS: [Kind; 4] = [
    Kind::UriTooLong,
    Kind::HeadersTooLarge,
    Kind::Internal,
    Kind::Overloaded,
];

/// Problems of a submission.
const OF_SUBMISSIONS: [Kind; 11] = [
    Kind::Malformed,
    Kind::BadIdempotencyKey,
    Kind::ForbiddenOrigin,
    Kind::Timeout,
    Kind::InProgress,
    Kind::TooLarge,
    Kind::MediaType,
    Kind::Invalid,
    Kind::KeyReused,
    Kind::RateLimited,
    Kind::Unavailable,
];

const HTML: &str = "text/html";

/// The whole description.
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
            "description": "Takes submissions of forms. A 202 promises that the submission is stored.",
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
        &format!("{title}, as a page"),
        HTML,
        &json!({ "type": "string" }),
    );
    // A page holds messages of the moment and is not cached.
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
    paths.insert(format!("/v1/forms/{name}"), definition);
    let schema = get(
        &format!("schema-{name}"),
        &format!("{title}: schema"),
        SCHEMA,
        &json!({ "type": ["object", "boolean"] }),
    );
    paths.insert(schema_path(name), schema);
}

/// A form's schema under `components`.
fn component(form: &Form) -> String {
    format!("form-{}", form.name)
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", escape(schema)) })
}

fn get(id: &str, summary: &str, media_type: &str, schema: &Value) -> Value {
    let ok = json!({
        "description": "Here it is",
        "headers": { "X-Request-Id": request_id() },
        "content": { media_type: { "schema": schema } },
    });
    let mut responses = problems(&ALWAYS);
    responses.insert("200".into(), ok);
    responses.insert(
        "304".into(),
        json!({ "description": "The client has it (If-None-Match)" }),
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
            "description": "A browser goes on to one of the form's addresses",
            "headers": { "Location": { "schema": { "type": "string" }, "required": true } },
        }),
    );
    // A person gets the form back, with messages beside the fields.
    for status in ["409", "422", "503"] {
        responses[status]["content"][HTML] = json!({ "schema": { "type": "string" } });
    }
    json!({
        "operationId": id,
        "summary": format!("{title}: submit"),
        "description": "Texts of URL-encoded and multipart forms take the types of the schema.",
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
        "description": "Stored. A repetition with the same Idempotency-Key gets the same answer.",
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

/// One answer for each status, with the types of all its problems.
fn problems(kinds: &[Kind]) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status
            .entry(kind.status().as_u16())
            .or_default()
            .push(*kind);
    }
    let answer = |(status, kinds): (u16, Vec<Kind>)| {
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
        let response = json!({
            "description": titles.join(", or: "),
            "headers": headers,
            "content": { problem::MEDIA_TYPE: { "schema": schema } },
        });
        (status.to_string(), response)
    };
    by_status.into_iter().map(answer).collect()
}

fn request_id() -> Value {
    json!({ "schema": { "type": "string" }, "required": true })
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes it safe to send a submission again within 24 hours: it is stored once.",
        "schema": { "type": "string", "pattern": keys::PATTERN },
        "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    })
}

fn shared_schemas() -> Value {
    let text = json!({ "type": "string" });
    let summary = json!({
        "app": text, "name": text, "path": text, "submissions": text, "dataschema": text,
    });
    json!({
        "Accepted": {
            "type": "object",
            "properties": {
                "id": { "type": "string", "format": "uuid" },
                "status": { "const": "accepted" },
                "received_at": { "type": "string", "format": "date-time" },
            },
            "required": ["id", "status", "received_at"],
        },
        "Problem": {
            "description": "RFC 9457",
            "type": "object",
            "properties": {
                "type": { "type": "string", "format": "uri" },
                "title": text,
                "status": { "type": "integer" },
                "detail": text,
                "instance": { "type": "string", "format": "uri" },
                "errors": { "type": "array", "items": reference("Violation") },
            },
            "required": ["type", "title", "status", "detail", "instance"],
        },
        "Violation": {
            "type": "object",
            "properties": { "pointer": text, "detail": text, "keyword": text },
            "required": ["pointer", "detail", "keyword"],
        },
        "Form": {
            "type": "object",
            "properties": summary,
            "required": ["app", "name", "path", "submissions", "dataschema"],
        },
        "Forms": {
            "type": "object",
            "properties": { "forms": { "type": "array", "items": reference("Form") } },
            "required": ["forms"],
        },
    })
}

/// A form's schema as a part of this document: what it calls `#` lies elsewhere now.
fn embedded(form: &Form) -> Value {
    let mut schema = form.schema.source().clone();
    if let Some(object) = schema.as_object_mut() {
        object.shift_remove("$schema");
        object.shift_remove("$id");
    }
    let root = format!("#/components/schemas/{}", component(form));
    rebase(&mut schema, &root);
    schema
}

fn rebase(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(pointer) = target.strip_prefix('#') {
                            *target = format!("{root}{pointer}");
                        }
                    }
                    other => rebase(other, root),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, root)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_follow_the_schema_to_its_new_place() {
        let mut schema =
            json!({ "properties": { "a": { "$ref": "#/$defs/b" } }, "anyOf": [{ "$ref": "#" }] });
        rebase(&mut schema, "#/components/schemas/x");
        assert_eq!(
            schema["properties"]["a"]["$ref"],
            "#/components/schemas/x/$defs/b"
        );
        assert_eq!(schema["anyOf"][0]["$ref"], "#/components/schemas/x");
    }

    #[test]
    fn every_problem_is_described() {
        let described = [ALWAYS.as_slice(), OF_SUBMISSIONS.as_slice()].concat();
        let of_no_form = [Kind::NotFound, Kind::MethodNotAllowed];
        let missing: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| !described.contains(kind) && !of_no_form.contains(kind))
            .collect();
        assert_eq!(missing, []);
    }
}
