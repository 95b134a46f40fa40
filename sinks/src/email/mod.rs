//! A confirmation by e-mail to the address that the form names.
//!
//! SMTP cannot be asked whether a mail was taken. The journal says what was begun (`delivery`): an attempt whose outcome is
//! not known is repeated once, with the same Message-ID, and then given up as uncertain. So a mail may come twice, and
//! mail programs fold the two; it never comes three times. A mail that the server puts off waits elsewhere (`attempt`), so
//! that an address which nobody can reach holds up no other.
//!
//! Not in here: delivery to the recipient's own server, bounces, unsubscribing. The server of the installation does that.

mod compose;
mod delivery;
mod limit;
mod server;
mod template;

use std::sync::Arc;

use formline_core::{
    App, Mistake, Telemetry,
    app::{Email, Sink, SinkKind},
    settings::Smtp,
};

use self::{compose::Composer, delivery::Desk, limit::Limits, server::Server};
use crate::{
    Error,
    books::Books,
    lanes,
    metrics::Outcomes,
    run::{Common, Work},
};

/// The work of each email sink.
pub(crate) fn open(
    smtp: &Smtp,
    telemetry: &Telemetry,
    sinks: Vec<(Common, Email)>,
) -> Result<Vec<(Common, Work)>, Error> {
    let messages = Outcomes::register(
        telemetry,
        "formline_email_messages_total",
        "Attempts to send an e-mail, by what came of them.",
    );
    let mut works = Vec::with_capacity(sinks.len());
    for (common, settings) in sinks {
        let composer = Composer::read(&common.app, &common.sink, &settings);
        let desk = Desk {
            composer: composer.map_err(|mistake| Error::Email(Box::new(mistake)))?,
            server: Server::open(smtp)?,
            limits: Limits::new(settings.per_address, settings.per_form),
            books: Books::of(&common),
            messages: messages.clone(),
        };
        works.push(lanes::work(common, desk));
    }
    Ok(works)
}

/// What is wrong with the addresses and templates of an app's email sinks.
#[must_use]
pub fn check(app: &App) -> Vec<Mistake> {
    let composed = |sink: &Arc<Sink>| match &sink.kind {
        SinkKind::Email(settings) => Composer::read(app, sink, settings).err(),
        SinkKind::Sheets(_) | SinkKind::Postgres(_) | SinkKind::Webhook(_) => None,
    };
    app.sinks.iter().filter_map(composed).collect()
}
