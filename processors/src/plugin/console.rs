//! What a plug-in logs and prints: rate-limited lines in the step's log, and the end of the printed
//! text for failure reports.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use super::bindings::formline::plugin::runtime::Level;

/// The log of one instance. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub(super) struct Console(Arc<Mutex<LogState>>);

struct LogState {
    /// `<app>/<step>`.
    step: String,
    plugin: String,
    window: Instant,
    written: u32,
    dropped: u64,
    /// The end of the printed text, for the report of a trap.
    printed: Vec<u8>,
}

/// Lines per `WINDOW`. Further lines are counted and dropped.
const LINES_PER_WINDOW: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// Bytes of a line. A longer line is cut.
const LINE_LIMIT: usize = 1000;

/// Bytes of the printed text that are kept.
const PRINTED: usize = 1024;

// === impl Console ===

impl Console {
    pub(super) fn new(step: &str, plugin: &str) -> Self {
        Self(Arc::new(Mutex::new(LogState {
            step: step.to_owned(),
            plugin: plugin.to_owned(),
            window: Instant::now(),
            written: 0,
            dropped: 0,
            printed: Vec::new(),
        })))
    }

    pub(super) fn line(&self, level: Level, message: &str) {
        self.state().log(level, message);
    }

    /// Returns the end of the text printed since the last call.
    pub(super) fn take_printed(&self) -> String {
        let printed = std::mem::take(&mut self.state().printed);
        String::from_utf8_lossy(&printed).trim().to_owned()
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

// === impl LogState ===

impl LogState {
    fn log(&mut self, level: Level, message: &str) {
        if self.window.elapsed() >= WINDOW {
            self.begin_window();
        }
        if self.written >= LINES_PER_WINDOW {
            self.dropped += 1;
            return;
        }
        self.written += 1;
        let message = &message[..message.floor_char_boundary(LINE_LIMIT)];
        let Self { step, plugin, .. } = self;
        match level {
            Level::Trace => tracing::trace!(target: "formline::plugin", step, plugin, "{message}"),
            Level::Debug => tracing::debug!(target: "formline::plugin", step, plugin, "{message}"),
            Level::Info => tracing::info!(target: "formline::plugin", step, plugin, "{message}"),
            Level::Warn => tracing::warn!(target: "formline::plugin", step, plugin, "{message}"),
            Level::Error => tracing::error!(target: "formline::plugin", step, plugin, "{message}"),
        }
    }

    fn begin_window(&mut self) {
        if self.dropped > 0 {
            let Self {
                step,
                plugin,
                dropped,
                ..
            } = self;
            tracing::warn!(
                step,
                plugin,
                dropped,
                "the plug-in logs too much; lines were dropped"
            );
        }
        (self.window, self.written, self.dropped) = (Instant::now(), 0, 0);
    }

    /// Logs printed text at level debug, because it comes from panics and libraries and its
    /// importance is unknown.
    fn print(&mut self, bytes: &[u8]) {
        self.log(Level::Debug, String::from_utf8_lossy(bytes).trim_end());
        self.printed.extend_from_slice(bytes);
        let excess = self.printed.len().saturating_sub(PRINTED);
        self.printed.drain(..excess);
    }
}

// === Standard output and standard error ===

impl IsTerminal for Console {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Console {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Used only by WASI versions that are not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Console {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.state().print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINTED)
    }
}

#[async_trait]
impl Pollable for Console {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_lines_are_dropped_and_the_end_of_the_printed_text_is_kept() {
        let console = Console::new("app/step", "test");
        for _ in 0..LINES_PER_WINDOW + 5 {
            console.line(Level::Info, "line");
        }
        assert_eq!(console.state().dropped, 5);
        let mut stream = console.clone();
        for _ in 0..PRINTED {
            stream
                .write(Bytes::from_static(b"panicked at the end\n"))
                .expect("writing to the console never fails");
        }
        let printed = console.take_printed();
        assert!(printed.len() <= PRINTED && printed.ends_with("panicked at the end"));
        assert_eq!(console.take_printed(), "");
    }
}
