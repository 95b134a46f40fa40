//! Why a plug-in's call has failed: a stable reason for metrics and dead letters, and a detail for
//! operators.

use std::fmt;

use wasmtime::{Trap, WasmBacktrace};

/// A failed call. The instance must be dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    /// A stable code, such as `deadline`.
    pub(crate) reason: &'static str,
    /// What happened, with the wasm backtrace if there is one.
    pub(crate) detail: String,
}

/// The plug-in has exceeded its time limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the plug-in exceeded its time limit")]
pub(super) struct DeadlineExceeded;

/// The plug-in has called an import in violation of the contract.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misuse(pub(super) &'static str);

/// The code of a call that took too long. Such an event gets more time for its second attempt.
pub(crate) const DEADLINE: &str = "deadline";

// === impl Failure ===

impl Failure {
    pub(crate) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// Explains a failed call. `exceeded` says that the instance has requested more memory than it
    /// may allocate: a plug-in without memory usually aborts itself, so the trap alone says only
    /// `unreachable`. `printed` is the last text that the plug-in wrote to its standard error,
    /// usually the message of its panic.
    pub(super) fn of(error: &wasmtime::Error, exceeded: bool, printed: &str) -> Self {
        let reason = match reason(error) {
            "unreachable" if exceeded => "out-of-memory",
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
    if error.is::<DeadlineExceeded>() {
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
        // Everything else, including values that the component model forbids and results that
        // exceed the hostcall fuel.
        _ => "trap",
    }
}
