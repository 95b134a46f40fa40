//! `formline verify`: what became of every accepted submission at every sink, seen from outside.
//!
//! `submissions` reads what was accepted, `trail` what Kafka has made of it on its `way` to one sink, `account` holds that
//! against what the sink has written, `report` tells it. One sink after the other, so that one trail is in memory.

mod account;
mod report;
mod submissions;
mod trail;
mod way;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use formline_core::{Client, event};
use formline_sinks::{
    Placed,
    audit::{self, AuditQuery, AuditSources},
};
use tokio::runtime::Runtime;

use self::{account::Account, submissions::Submissions, trail::Trail, way::Way};
use super::{load_settings_and_apps, select, sink, text};
use crate::arguments::Verify;

/// Everything that is needed to look at a sink.
struct Look {
    client: Client,
    outside: AuditSources,
    submissions: Submissions,
    runtime: Runtime,
}

/// From one look to the next while something is under way.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &Verify) -> Result<()> {
    let (settings, apps) = load_settings_and_apps(&arguments.folders, &arguments.kafka)?;
    let all = sink::all(&apps);
    let sinks = select(all, &arguments.sinks.sinks, "sink", |(app, sink)| {
        (&app.name, &sink.name)
    })?;
    let client = settings.client();
    let look = Look {
        outside: AuditSources {
            client: client.clone(),
            google: sink::google(&arguments.sheets, &settings),
            postgres_url: settings.postgres_url,
        },
        submissions: Submissions::read(&client, &apps, arguments.since.0)?,
        client,
        runtime: Runtime::new()?,
    };
    let end = Instant::now() + arguments.wait.unwrap_or_default();
    let mut accounts = Vec::with_capacity(sinks.len());
    for placed in &sinks {
        accounts.push(look.at_rest(placed, end)?);
    }
    text::unless_closed(report::print(
        &look.submissions,
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
        "{wrong} of {count} sinks do not hold what was accepted since {since}"
    );
    Ok(())
}

// === impl Look ===

impl Look {
    /// The account of a sink, once nothing is under way or `end` has come.
    fn at_rest(&self, placed: &Placed, end: Instant) -> Result<Account<'_>> {
        loop {
            let account = self.sure(placed)?;
            if !account.has_under_way() || Instant::now() >= end {
                return Ok(account);
            }
            #[expect(clippy::disallowed_methods, reason = "a signal ends the whole command")]
            std::thread::sleep(PAUSE);
        }
    }

    /// What is wrong is believed at the second look: a dead letter that is parked or replayed between the looks at its topic
    /// and at the sink has no outcome in the first one, or two.
    fn sure(&self, placed: &Placed) -> Result<Account<'_>> {
        let first = self.once(placed)?;
        if !first.is_wrong(false) {
            return Ok(first);
        }
        let mut second = self.once(placed)?;
        second.doubt(&first);
        Ok(second)
    }

    fn once(&self, (app, sink): &Placed) -> Result<Account<'_>> {
        let way = Way::to(app, sink);
        let trail = Trail::read(&self.client, &way, &self.submissions)?;
        let mut account = Account::open(&way, &self.submissions, &trail);
        let query = AuditQuery {
            sink,
            sources: &way.sources,
            since: self.submissions.since,
        };
        let mut visit = |outcome| account.add(outcome);
        self.runtime
            .block_on(audit::outcomes(&self.outside, query, &mut visit))?;
        account.close();
        Ok(account)
    }
}
