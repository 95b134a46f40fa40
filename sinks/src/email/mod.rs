//! A confirmation by e-mail to the address that the form names.
//!
//! SMTP offers no way to ask whether a server has accepted a message. The journal records each
//! attempt before it begins (`handler`): an attempt whose outcome is unknown is repeated once, with
//! the same Message-ID, and after that the outcome stays unknown. So a message can arrive twice,
//! and mail programs fold the two; it never arrives three times. A message that the server rejects
//! temporarily is deferred (`per_record::attempt`), so that an unreachable mailbox holds up no
//! other.
//!
//! Not implemented here, because the SMTP server of the installation does it: delivery to the
//! server of the recipient, bounces, unsubscribing.

mod compose;
mod handler;
mod kind;
mod rate_limit;
mod server;
mod template;

pub(crate) use self::kind::{open, register_metrics};
