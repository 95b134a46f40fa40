//! Parses JSON from requests, with Google's error messages.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api_error::ApiError;

/// Parses a body. The parser limits the depth of nesting.
pub(crate) fn read(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(format!("Invalid JSON payload received. {error}")))
}

/// Converts a part of a body; `path` is its position in the body.
pub(crate) fn parse<T: DeserializeOwned>(body: Value, path: &str) -> Result<T, ApiError> {
    serde_json::from_value(body).map_err(|error| {
        let message = error.to_string();
        let name = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'));
        match name {
            Some((name, _)) => ApiError::unknown_name(name, path),
            None => ApiError::invalid(format!("Invalid value at '{path}': {message}")),
        }
    })
}
