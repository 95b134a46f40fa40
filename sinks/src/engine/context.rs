//! What the task of one sink works with, and what it gives back.

use std::sync::Arc;

use formline_core::{App, Client, Shutdown, app::Sink, telemetry::HealthCheck};
use futures::future::BoxFuture;

use super::dead_letter_queue::DeadLetterQueue;
use crate::{error::Error, redis::Redis};

/// What the task of one sink works with, whatever its kind. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SinkContext {
    pub(crate) app: Arc<App>,
    pub(crate) sink: Arc<Sink>,
    pub(crate) client: Client,
    /// Name of this process in the consumer group.
    pub(crate) member: String,
    pub(crate) dead_letters: DeadLetterQueue,
    pub(crate) redis: Option<Redis>,
    pub(crate) shutdown: Shutdown,
    pub(crate) health: HealthCheck,
}

/// The work of one sink. It ends when the shutdown begins, or with the error that stops the sink.
pub(crate) type Work = BoxFuture<'static, Result<(), Error>>;

/// What a flush has done for one sink.
#[derive(Debug)]
pub struct Flushed {
    /// Rows that it has written.
    pub rows: usize,
    /// Why it has ended before all rows that were due were written: Google accepts no row, a
    /// service did not answer in time, or an operator must act. The remaining rows are still in
    /// Redis.
    pub trouble: Option<Error>,
}

/// `APP/SINK`, the name of a sink in error messages.
pub(crate) fn title(sink: &Sink) -> String {
    format!("{}/{}", sink.app, sink.name)
}
