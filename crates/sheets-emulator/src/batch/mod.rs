//! `spreadsheets.batchUpdate`: a list of requests, applied in order within one write transaction.
//! The first that fails aborts it, so either all of a batch is there or nothing.

mod cells;
mod metadata;
mod rows;
mod sheets;

use serde_json::{Map, Value, json};

use super::json::parse;
use super::refusal::Refusal;
use super::spreadsheet::Spreadsheet;
use super::store::Draft;

/// Google's limit of requests in one batch.
const MAX_REQUESTS: usize = 100_000;

/// A batch that is being applied.
struct Batch<'a, 't> {
    draft: &'a mut Draft<'t>,
    id: &'a str,
    spreadsheet: Spreadsheet,
}

/// Applies the body of a `batchUpdate` and returns its answer: one reply per request.
pub(super) fn apply(
    draft: &mut Draft<'_>,
    id: &str,
    url: &str,
    body: Value,
) -> Result<Value, Refusal> {
    let (requests, shows_result) = read_body(body)?;
    let spreadsheet = draft.spreadsheet(id)?;
    let mut batch = Batch {
        draft,
        id,
        spreadsheet,
    };
    let mut replies = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        replies.push(batch.apply(index, request)?);
    }
    let Batch { spreadsheet, .. } = batch;
    draft.put_spreadsheet(id, &spreadsheet)?;
    let mut answer = json!({ "spreadsheetId": id, "replies": replies });
    if shows_result {
        answer["updatedSpreadsheet"] = spreadsheet.resource(id, url);
    }
    Ok(answer)
}

/// The requests, and whether the answer is to show the spreadsheet.
fn read_body(body: Value) -> Result<(Vec<Value>, bool), Refusal> {
    let Value::Object(mut body) = body else {
        return Err(Refusal::invalid(
            "Invalid JSON payload received. Expected an object.",
        ));
    };
    let shows_result = matches!(
        body.remove("includeSpreadsheetInResponse"),
        Some(Value::Bool(true))
    );
    if matches!(
        body.remove("responseIncludeGridData"),
        Some(Value::Bool(true))
    ) {
        return Err(Refusal::invalid(
            "The emulator does not return grid data: read it as values",
        ));
    }
    let requests = body.remove("requests").unwrap_or_default();
    if let Some(name) = body.keys().next() {
        return Err(Refusal::unknown_name(name, ""));
    }
    match requests {
        Value::Array(requests) if requests.len() > MAX_REQUESTS => Err(Refusal::invalid(format!(
            "A batch may have {MAX_REQUESTS} requests"
        ))),
        Value::Array(requests) if !requests.is_empty() => Ok((requests, shows_result)),
        Value::Array(_) | Value::Null => {
            Err(Refusal::invalid("Must specify at least one request."))
        }
        _ => Err(Refusal::invalid(
            "Invalid value at 'requests': expected a list",
        )),
    }
}

// === impl Batch ===

impl Batch<'_, '_> {
    fn apply(&mut self, index: usize, request: Value) -> Result<Value, Refusal> {
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
            _ => return Err(Refusal::unknown_name(&kind, &format!("requests[{index}]"))),
        };
        reply.map_err(|refusal| refusal.in_request(index, &kind))
    }
}

/// A request is an object with one field, whose name is its kind.
fn single_kind(index: usize, request: Value) -> Result<(String, Value), Refusal> {
    let fields = match request {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Refusal::invalid(format!(
            "Invalid requests[{index}]: No request set."
        ))),
        (Some(_), Some((second, _))) => Err(Refusal::invalid(format!(
            "Invalid value at 'requests[{index}]' (oneof), oneof field 'kind' is already set. Cannot set '{second}'"
        ))),
    }
}
