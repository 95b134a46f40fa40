//! The paths of a form.

use formline_core::app::Form;

/// Every path that accepts submissions of the form: its own path, with and without a slash at the
/// end, and the path under `/v1`.
pub(crate) fn submission_paths(form: &Form) -> [String; 3] {
    [
        form.path.clone(),
        format!("{}/", form.path),
        submissions_path(&form.name),
    ]
}

/// The path under `/v1` that accepts submissions of the form.
pub(super) fn submissions_path(form: &str) -> String {
    format!("/v1/forms/{form}/submissions")
}

/// The path of the form's definition.
pub(crate) fn definition_path(form: &str) -> String {
    format!("/v1/forms/{form}")
}

/// The path of the form's schema, which is also the `ce_dataschema` of its records.
pub(crate) fn schema_path(form: &str) -> String {
    format!("/v1/forms/{form}/schema")
}
