//! What operators ask of sinks: where everything is (`verify`), and to write what waits (`flush`). On real parts: steps,
//! sinks, the sheets emulator, PostgreSQL, Redis, a mail server and the receiver of a webhook.
#![allow(clippy::unwrap_used, clippy::panic)]

mod flush;
mod journals;
mod line;
mod verify;
