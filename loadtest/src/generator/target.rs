//! What the generator sends to.

use anyhow::Result;
use formline_core::EventId;

/// A receiver of submissions. It handles one submission at a time.
pub(crate) trait Target {
    /// Sends the student with this number and waits for the response.
    async fn send(&mut self, number: u64) -> Result<Response>;
}

/// The response to a submission.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Response {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The id of the submission, if the response contains it.
    pub(crate) id: Option<EventId>,
}
