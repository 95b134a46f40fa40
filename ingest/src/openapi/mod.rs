//! What the service publishes about itself: the forms, their schemas and an OpenAPI 3.1
//! description.

pub(crate) mod description;
pub(crate) mod documents;
pub(crate) mod paths;

mod schemas;
