//! What operators ask of sinks: `formline verify` and `formline flush`, on real components: steps,
//! sinks, the sheets emulator, PostgreSQL, Redis, an SMTP server and a webhook receiver.

mod flush;
mod journals;
mod pipeline;
mod verify;
