//! The state of a batch while its requests are applied.

use crate::spreadsheet::Spreadsheet;
use crate::store::Transaction;

/// A batch that is being applied.
pub(super) struct Batch<'a, 't> {
    pub(super) tx: &'a mut Transaction<'t>,
    pub(super) id: &'a str,
    pub(super) spreadsheet: Spreadsheet,
}
