//! A call of somebody else's HTTP address for each record: Standard Webhooks 1.0.0.
//!
//! A record whose call fails waits in a topic of its own (`attempt`) for its next attempt, so nothing waits behind it. Nobody
//! can know whether a call that has failed was heard: a receiver may be called twice, and knows it by the `webhook-id`.
//!
//! Not in here: asymmetric signatures (`v1a`), order of calls, endpoints that people register by themselves.

mod address;
mod delivery;
mod endpoint;
mod signature;

use std::sync::Arc;

use formline_core::{
    App, Mistake, Telemetry,
    app::{Sink, SinkKind, Webhook},
};
use ipnet::IpNet;

use self::{
    delivery::Desk,
    endpoint::{Endpoint, Unusable},
};
use crate::{
    Error,
    books::Books,
    lanes,
    metrics::Outcomes,
    run::{Common, Work},
};

/// The work of each webhook sink. `networks` may be called although they are not public.
pub(crate) fn open(
    networks: &[IpNet],
    telemetry: &Telemetry,
    sinks: Vec<(Common, Webhook)>,
) -> Result<Vec<(Common, Work)>, Error> {
    let calls = Outcomes::register(
        telemetry,
        "formline_webhook_calls_total",
        "Calls of a webhook, by what came of them.",
    );
    let mut works = Vec::with_capacity(sinks.len());
    for (common, settings) in sinks {
        let endpoint = Endpoint::open(&settings, networks);
        let unusable = |wrong| Error::Webhook(Box::new(mistake(&common.sink, wrong)));
        let desk = Desk {
            endpoint: endpoint.map_err(unusable)?,
            in_flight: settings.in_flight,
            books: Books::of(&common),
            calls: calls.clone(),
        };
        works.push(lanes::work(common, desk));
    }
    Ok(works)
}

/// What is wrong with the addresses and secrets of an app's webhook sinks. `networks` may be called although they are not
/// public. What a name resolves to is looked at when it is called.
#[must_use]
pub fn check(app: &App, networks: &[IpNet]) -> Vec<Mistake> {
    let read = |sink: &Arc<Sink>| match &sink.kind {
        SinkKind::Webhook(settings) => {
            let wrong = Endpoint::open(settings, networks).err()?;
            Some(mistake(sink, wrong))
        }
        SinkKind::Sheets(_) | SinkKind::Postgres(_) | SinkKind::Email(_) => None,
    };
    app.sinks.iter().filter_map(read).collect()
}

fn mistake(sink: &Sink, (key, problem): Unusable) -> Mistake {
    let remedy = match key {
        "secret" => {
            "write secret = \"${NAME}\", and set that variable to whsec_ and the base64 of 24 to 64 random bytes"
        }
        _ => "write url = \"https://HOST/PATH\"",
    };
    Mistake {
        file: sink.location.file.to_path_buf(),
        line: sink.location.line,
        problem: format!("`{key}` of sink `{}` cannot be used: {problem}", sink.name),
        remedy: remedy.to_owned(),
    }
}
