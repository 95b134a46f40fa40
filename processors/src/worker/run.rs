//! Runs a worker.

use super::{context::Worker, session::Session};
use crate::error::Error;

/// Runs until the worker is stopped, or until an error ends its group membership. Blocks the
/// thread.
pub(crate) fn run(worker: &Worker) -> Result<(), Error> {
    let mut session = Session::open(worker)?;
    let mut result = session.run();
    while let Err(error) = result {
        result = session.recover(error);
        if result.is_err() {
            break;
        }
        result = session.run();
    }
    session.revoke();
    result
}
