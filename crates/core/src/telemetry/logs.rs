//! The log output of the process.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// Text for humans.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The log filter if `RUST_LOG` is not set: Formline at info, libraries at warn or less.
///
/// yup-oauth2 logs tokens at debug level, so its level is limited unless `RUST_LOG` names it.
const DEFAULT_FILTER: &str = "warn,formline=info,yup_oauth2=info,librdkafka=error,rdkafka=error";

/// Writes logs to standard error. Call it once, before anything is logged.
pub fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let is_terminal = std::io::stderr().is_terminal();
    let initialized = match format {
        LogFormat::Text => logs.with_target(false).with_ansi(is_terminal).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    if let Err(error) = initialized {
        tracing::warn!(%error, "logging is already initialized");
    }
}
