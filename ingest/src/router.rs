//! Maps paths to handlers.

use std::sync::Arc;

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};
use formline_core::app::Form;
use serde_json::Value;

use crate::{
    endpoint::Endpoint,
    media_type::{JSON, JSON_SCHEMA},
    openapi::{
        description,
        documents::{self, Document},
        paths::{definition_path, schema_path, submission_paths},
    },
    problem::{Problem, ProblemKind},
};

/// Routes the paths of these forms.
pub(crate) fn router(forms: &[(Arc<Form>, Arc<Endpoint>)]) -> Router {
    let all: Vec<Arc<Form>> = forms.iter().map(|(form, _)| Arc::clone(form)).collect();
    let mut router = Router::new()
        .route("/v1/forms", document(JSON, &documents::list(&all)))
        .route(
            "/openapi.json",
            document(JSON, &description::describe(&all)),
        );
    for (form, endpoint) in forms {
        let [path, with_slash, submissions] = submission_paths(form);
        let form_methods = get(Endpoint::get)
            .post(Endpoint::post)
            .options(Endpoint::options)
            .with_state(Arc::clone(endpoint));
        let submission_methods = post(Endpoint::post)
            .options(Endpoint::submissions_options)
            .with_state(Arc::clone(endpoint));
        router = router
            .route(&path, form_methods.clone())
            .route(&with_slash, form_methods)
            .route(&submissions, submission_methods)
            .route(
                &definition_path(&form.name),
                document(JSON, &documents::definition(form)),
            )
            .route(
                &schema_path(&form.name),
                document(JSON_SCHEMA, form.schema.source()),
            );
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

fn document(media_type: &'static str, content: &Value) -> MethodRouter {
    get(Document::get).with_state(Document::new(media_type, content))
}

async fn not_found() -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        "GET /v1/forms lists all forms and their paths",
    )
}

/// axum adds `Allow`.
async fn method_not_allowed() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "the Allow header lists the methods of this resource",
    )
}
