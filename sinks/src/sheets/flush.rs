//! `formline flush`: writes the rows of sheets sinks that wait in Redis and are due.

use std::time::Duration;

use formline_core::{app::Sheets, retry::Backoff};
use futures::future::join_all;

use super::{
    buffer::flusher::{FlushOutcome, Flusher},
    sink::{SheetsSink, prepare},
};
use crate::{
    engine::{
        context::{Flushed, SinkContext},
        options::Options,
    },
    error::Error,
    redis::ScriptError,
};

/// How long the write under way may take after the shutdown has begun.
const GRACE: Duration = Duration::from_secs(5);

/// Flushes each sink for at most `patience`, and returns what it has written.
///
/// # Errors
/// If a sink cannot be opened. What stops the flush of one sink is in its [`Flushed`].
pub(crate) async fn flush(
    options: &Options,
    sinks: Vec<(SinkContext, Sheets)>,
    patience: Duration,
) -> Result<Vec<Flushed>, Error> {
    let mut flushes = Vec::with_capacity(sinks.len());
    for sink in prepare(options, sinks).await? {
        flushes.push(flush_within(flusher(&sink)?, sink.context, patience));
    }
    // In parallel, so that an unavailable spreadsheet does not delay the other sinks.
    Ok(join_all(flushes).await)
}

fn flusher(sink: &SheetsSink) -> Result<Flusher, Error> {
    let name = || sink.context.sink.name.clone();
    let queue = sink.queue.clone();
    let queue = queue.ok_or_else(|| Error::NothingToFlush(name()))?;
    Ok(Flusher::new(
        sink.tab.clone(),
        sink.tracker.clone(),
        queue,
        sink.context.dead_letters.clone(),
        &sink.settings,
    ))
}

/// The rows that it counts are in the sheet, however it ends. The next flush resolves a write that
/// is dropped.
async fn flush_within(mut flusher: Flusher, context: SinkContext, patience: Duration) -> Flushed {
    let mut rows = 0;
    let shutdown = context.shutdown.clone();
    let ended = tokio::select! {
        ended = flush_all(&mut flusher, &context, &mut rows) => ended,
        () = tokio::time::sleep(patience) => Err(Error::Unflushed(patience)),
        () = async { shutdown.begun().await; tokio::time::sleep(GRACE).await } => Ok(()),
    };
    Flushed {
        rows,
        trouble: ended.err(),
    }
}

async fn flush_all(
    flusher: &mut Flusher,
    context: &SinkContext,
    written: &mut usize,
) -> Result<(), Error> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    while !context.shutdown.has_begun() {
        match flusher.flush().await? {
            FlushOutcome::Written(0) | FlushOutcome::Shutdown => break,
            FlushOutcome::Written(rows) => *written += rows,
            FlushOutcome::Rejected(why) => return Err(Error::NoRowTaken(why)),
            FlushOutcome::Unavailable(denied @ ScriptError::Denied(_)) => {
                return Err(Error::Redis(denied.to_string()));
            }
            FlushOutcome::Unavailable(error) => {
                let sink = context.sink.group();
                tracing::warn!(%error, sink, "waiting for redis");
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
    Ok(())
}
