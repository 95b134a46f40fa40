//! `formline verify`: checks that every accepted submission is at every sink, independently of the
//! sinks.
//!
//! `submissions` reads what was accepted, `delivery_trace` what happened to it in Kafka on its
//! `route` to one sink, `account` compares that with what the sink has written, and `report` prints
//! the result. One sink is checked after the other, so that only one trace is in memory.

mod account;
mod delivery_trace;
mod report;
mod route;
mod submissions;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use formline_core::{Client, event};
use formline_sinks::{
    Placed,
    audit::{self, AuditQuery, AuditSources},
};
use tokio::runtime::Runtime;

use self::{
    account::SinkAccount, delivery_trace::DeliveryTrace, route::Route, submissions::Submissions,
};
use super::sink;
use crate::{
    arguments::VerifyArgs,
    installation::{load_settings_and_apps, select},
    terminal,
};

/// Reads everything that is needed to check a sink.
struct Verifier {
    client: Client,
    sources: AuditSources,
    submissions: Submissions,
    runtime: Runtime,
}

/// Interval between two checks while something is under way.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &VerifyArgs) -> Result<()> {
    let (settings, apps) = load_settings_and_apps(&arguments.folders, &arguments.kafka)?;
    let all = sink::all(&apps);
    let sinks = select(all, &arguments.sinks.sinks, "sink", |(app, sink)| {
        (&app.name, &sink.name)
    })?;
    let client = settings.client();
    let verifier = Verifier {
        sources: AuditSources {
            client: client.clone(),
            google: sink::google(&arguments.sheets, &settings),
            postgres_url: settings.postgres_url,
        },
        submissions: Submissions::read(&client, &apps, arguments.since.0)?,
        client,
        runtime: Runtime::new()?,
    };
    let deadline = Instant::now() + arguments.wait.unwrap_or_default();
    let mut accounts = Vec::with_capacity(sinks.len());
    for placed in &sinks {
        accounts.push(verifier.account_by(placed, deadline)?);
    }
    terminal::unless_closed(report::print(
        &verifier.submissions,
        &accounts,
        arguments.output.json,
    ))?;
    let wrong = accounts
        .iter()
        .filter(|account| account.is_wrong(arguments.complete));
    let (wrong, count) = (wrong.count(), accounts.len());
    let since = event::format_time(arguments.since.0);
    ensure!(
        wrong == 0,
        "{wrong} of {count} sinks do not match the submissions accepted since {since}"
    );
    Ok(())
}

// === impl Verifier ===

impl Verifier {
    /// The account of a sink, once nothing is under way or the deadline has passed.
    fn account_by(&self, placed: &Placed, deadline: Instant) -> Result<SinkAccount<'_>> {
        loop {
            let account = self.confirmed_account(placed)?;
            if !account.has_under_way() || Instant::now() >= deadline {
                return Ok(account);
            }
            #[expect(clippy::disallowed_methods, reason = "a signal ends the whole command")]
            std::thread::sleep(INTERVAL);
        }
    }

    /// Reads the account again if something is wrong, and keeps only what is wrong both times. If a
    /// record is dead-lettered or replayed between reading the dead letters and reading the sink,
    /// it has no outcome in the first account, or two.
    fn confirmed_account(&self, placed: &Placed) -> Result<SinkAccount<'_>> {
        let first = self.account(placed)?;
        if !first.is_wrong(false) {
            return Ok(first);
        }
        let mut second = self.account(placed)?;
        second.confirm_with(&first);
        Ok(second)
    }

    fn account(&self, (app, sink): &Placed) -> Result<SinkAccount<'_>> {
        let route = Route::to(app, sink);
        let trace = DeliveryTrace::read(&self.client, &route, &self.submissions)?;
        let mut account = SinkAccount::open(&route, &self.submissions, &trace);
        let query = AuditQuery {
            sink,
            sources: &route.sources,
            since: self.submissions.since,
        };
        let mut visit = |outcome| account.add(outcome);
        self.runtime
            .block_on(audit::outcomes(&self.sources, query, &mut visit))?;
        account.close();
        Ok(account)
    }
}
