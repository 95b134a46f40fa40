//! Applies the requests of a batch in order within one write transaction. The first request that
//! fails aborts the transaction, so a batch is applied completely or not at all.

use serde_json::{Map, Value, json};

use crate::api_error::ApiError;
use crate::json::parse;
use crate::store::Transaction;

use super::context::Batch;

/// Maximum number of requests in one batch. Google has the same limit.
const MAX_REQUESTS: usize = 100_000;

/// Applies the body of a `batchUpdate` and returns the response, which has one reply per request.
pub(crate) fn apply(
    tx: &mut Transaction<'_>,
    id: &str,
    url: &str,
    body: Value,
) -> Result<Value, ApiError> {
    let (requests, includes_spreadsheet) = read_body(body)?;
    let spreadsheet = tx.spreadsheet(id)?;
    let mut batch = Batch {
        tx,
        id,
        spreadsheet,
    };
    let mut replies = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        replies.push(batch.apply(index, request)?);
    }
    let Batch { spreadsheet, .. } = batch;
    tx.put_spreadsheet(id, &spreadsheet)?;
    let mut response = json!({ "spreadsheetId": id, "replies": replies });
    if includes_spreadsheet {
        response["updatedSpreadsheet"] = spreadsheet.resource(id, url);
    }
    Ok(response)
}

/// The requests, and whether the response includes the spreadsheet.
fn read_body(body: Value) -> Result<(Vec<Value>, bool), ApiError> {
    let Value::Object(mut body) = body else {
        return Err(ApiError::invalid(
            "Invalid JSON payload received. Expected an object.",
        ));
    };
    let includes_spreadsheet = matches!(
        body.remove("includeSpreadsheetInResponse"),
        Some(Value::Bool(true))
    );
    if matches!(
        body.remove("responseIncludeGridData"),
        Some(Value::Bool(true))
    ) {
        return Err(ApiError::invalid(
            "The emulator does not return grid data; use spreadsheets.values.get instead",
        ));
    }
    let requests = body.remove("requests").unwrap_or_default();
    if let Some(name) = body.keys().next() {
        return Err(ApiError::unknown_name(name, ""));
    }
    match requests {
        Value::Array(requests) if requests.len() > MAX_REQUESTS => Err(ApiError::invalid(format!(
            "A batch may have at most {MAX_REQUESTS} requests"
        ))),
        Value::Array(requests) if !requests.is_empty() => Ok((requests, includes_spreadsheet)),
        Value::Array(_) | Value::Null => {
            Err(ApiError::invalid("Must specify at least one request."))
        }
        _ => Err(ApiError::invalid(
            "Invalid value at 'requests': expected a list",
        )),
    }
}

// === impl Batch ===

impl Batch<'_, '_> {
    fn apply(&mut self, index: usize, request: Value) -> Result<Value, ApiError> {
        let (kind, body) = single_kind(index, request)?;
        let path = format!("requests[{index}].{kind}");
        let reply = match kind.as_str() {
            "appendCells" => self.append_cells(&parse(body, &path)?),
            "updateCells" => self.update_cells(&parse(body, &path)?),
            "appendDimension" => self.append_dimension(&parse(body, &path)?),
            "insertDimension" => self.insert_dimension(&parse(body, &path)?),
            "deleteDimension" => self.delete_dimension(&parse(body, &path)?),
            "sortRange" => self.sort_range(&parse(body, &path)?),
            "addSheet" => self.add_sheet(parse(body, &path)?),
            "deleteSheet" => self.delete_sheet(&parse(body, &path)?),
            "updateSheetProperties" => self.update_sheet_properties(parse(body, &path)?),
            "addNamedRange" => self.add_named_range(parse(body, &path)?),
            "deleteNamedRange" => self.delete_named_range(&parse(body, &path)?),
            "createDeveloperMetadata" => self.create_metadata(parse(body, &path)?),
            "updateDeveloperMetadata" => self.update_metadata(&parse(body, &path)?),
            "deleteDeveloperMetadata" => self.delete_metadata(&parse(body, &path)?),
            _ => return Err(ApiError::unknown_name(&kind, &format!("requests[{index}]"))),
        };
        reply.map_err(|error| error.in_request(index, &kind))
    }
}

/// Splits a request into its kind and body: it is an object with one field, whose name is the kind.
fn single_kind(index: usize, request: Value) -> Result<(String, Value), ApiError> {
    let fields = match request {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => Ok(field),
        (None, _) => Err(ApiError::invalid(format!(
            "Invalid requests[{index}]: No request set."
        ))),
        (Some(_), Some((second, _))) => Err(ApiError::invalid(format!(
            "Invalid value at 'requests[{index}]' (oneof), oneof field 'kind' is already set. Cannot set '{second}'"
        ))),
    }
}
