//! Which address is answered by what.

use std::sync::Arc;

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};
use formline_core::app::Form;
use serde_json::Value;

use crate::{
    definitions::{self, Document, SCHEMA},
    endpoint::Endpoint,
    media::JSON,
    openapi,
    problem::{Kind, Problem},
};

/// All addresses at which a form takes submissions.
pub(crate) fn submission_paths(form: &Form) -> [String; 3] {
    [
        form.path.clone(),
        format!("{}/", form.path),
        format!("/v1/forms/{}/submissions", form.name),
    ]
}

/// The router of these forms.
pub(crate) fn router(forms: &[(Arc<Form>, Arc<Endpoint>)]) -> Router {
    let all: Vec<Arc<Form>> = forms.iter().map(|(form, _)| Arc::clone(form)).collect();
    let mut router = Router::new()
        .route("/v1/forms", document(JSON, &definitions::list(&all)))
        .route("/openapi.json", document(JSON, &openapi::describe(&all)));
    for (form, endpoint) in forms {
        let [path, with_slash, submissions] = submission_paths(form);
        let own = get(Endpoint::get)
            .post(Endpoint::post)
            .options(Endpoint::options);
        let own = own.with_state(Arc::clone(endpoint));
        let below_v1 = post(Endpoint::post).options(Endpoint::submissions_options);
        router = router
            .route(&path, own.clone())
            .route(&with_slash, own)
            .route(&submissions, below_v1.with_state(Arc::clone(endpoint)))
            .route(
                &format!("/v1/forms/{}", form.name),
                document(JSON, &definitions::definition(form)),
            )
            .route(
                &definitions::schema_path(&form.name),
                document(SCHEMA, form.schema.source()),
            );
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "GET /v1/forms lists all forms and their addresses",
    )
}

fn document(media_type: &'static str, content: &Value) -> MethodRouter {
    get(Document::get).with_state(Document::new(media_type, content))
}

/// axum adds `Allow`.
async fn method_not_allowed() -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        "the header Allow lists the methods of this address",
    )
}
