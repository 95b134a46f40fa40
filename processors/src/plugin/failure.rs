//! Why a plug-in's call has failed: a stable reason for metrics and dead letters, and a detail for a person.

use std::fmt;

use wasmtime::{Trap, WasmBacktrace};

/// A call that did not end well. The instance is of no use any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    /// A stable code, such as `deadline`.
    pub(crate) reason: &'static str,
    /// What happened, with the wasm backtrace if there is one.
    pub(crate) detail: String,
}

/// The plug-in's time was up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the time limit is over")]
pub(super) struct DeadlineOver;

/// The plug-in has used an import against the contract.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misuse(pub(super) &'static str);

/// The code for a call that took too long; such an event gets more time at its second attempt.
pub(crate) const DEADLINE: &str = "deadline";

// === impl Failure ===

impl Failure {
    pub(crate) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// Tells what ended a call. `refused` says that the instance had asked for more memory than it may have: a
    /// plug-in that gets none ends itself, so that the trap alone says only `unreachable`. `printed` is the last that
    /// the plug-in wrote to its standard error, as a rule the message of its panic.
    pub(super) fn of(error: &wasmtime::Error, refused: bool, printed: &str) -> Self {
        let reason = match reason(error) {
            "unreachable" if refused => "out-of-memory",
            reason => reason,
        };
        let mut detail = error.root_cause().to_string();
        if !printed.is_empty() {
            detail = format!("{detail}; it printed: {printed}");
        }
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            detail = format!("{detail}\n{backtrace}");
        }
        Self { reason, detail }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

fn reason(error: &wasmtime::Error) -> &'static str {
    if error.is::<DeadlineOver>() {
        return DEADLINE;
    }
    if error.is::<Misuse>() {
        return "contract";
    }
    if error.is::<wasmtime_wasi::I32Exit>() {
        return "exit";
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "unreachable",
        Some(Trap::StackOverflow) => "stack-overflow",
        Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds | Trap::ArrayOutOfBounds) => {
            "out-of-bounds"
        }
        Some(Trap::IndirectCallToNull | Trap::BadSignature) => "bad-call",
        Some(
            Trap::IntegerDivisionByZero | Trap::IntegerOverflow | Trap::BadConversionToInteger,
        ) => "arithmetic",
        // Everything else, including values that the component model forbids and answers beyond the hostcall fuel.
        _ => "trap",
    }
}
