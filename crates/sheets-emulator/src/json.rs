//! Reading JSON from outside, with Google's words for what is wrong with it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::refusal::Refusal;

/// Reads a whole body. Nesting is bounded by the parser.
pub(super) fn read(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("Invalid JSON payload received. {error}")))
}

/// Reads a part of a body; `path` says where in the body it is.
pub(super) fn parse<T: DeserializeOwned>(body: Value, path: &str) -> Result<T, Refusal> {
    serde_json::from_value(body).map_err(|error| {
        let message = error.to_string();
        let name = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'));
        match name {
            Some((name, _)) => Refusal::unknown_name(name, path),
            None => Refusal::invalid(format!("Invalid value at '{path}': {message}")),
        }
    })
}
