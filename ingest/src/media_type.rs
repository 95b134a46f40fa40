//! The media types that the service reads and writes.

/// JSON.
pub(crate) const JSON: &str = "application/json";

/// A form that a browser encodes as URL parameters.
pub(crate) const URL_ENCODED: &str = "application/x-www-form-urlencoded";

/// A form in several parts (RFC 7578).
pub(crate) const MULTIPART: &str = "multipart/form-data";

/// HTML.
pub(crate) const HTML: &str = "text/html";

/// A JSON Schema.
pub(crate) const JSON_SCHEMA: &str = "application/schema+json";

/// Every error (RFC 9457).
pub(crate) const PROBLEM: &str = "application/problem+json";

/// The media types of submissions, as a response 415 lists them in `Accept-Post`.
pub(crate) const ACCEPTED: &str =
    "application/json, application/x-www-form-urlencoded, multipart/form-data";
