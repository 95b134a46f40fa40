//! The sheets sink at Google's default quota: rows that lie ready, the real sink, and the emulator with its quota on.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Instant,
};

use anyhow::{Context as _, Result};
use formline_core::{
    EventId,
    event::{self, header},
    record::{Headers, Outgoing},
    topic::{self, Topic},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::{
    follow::follow,
    ready,
    report::{SheetsReport, float},
    setting::{Setting, now_ms},
};
use crate::{arguments::Sheets, child::Child, cpu, generator::Students, progress};

/// How what stands in the sheet differs from what was written.
#[derive(Debug, Default, Eq, PartialEq)]
struct Places {
    lost: usize,
    doubled: usize,
    disordered: usize,
}

const APP: &str = "loadtest-sheets";
const SINK: &str = "sheet";
const SUBMISSIONS: &str = "formline-loadtest.submissions";
const TAB: &str = "Responses";

/// Measures once: a time of more than a minute that a quota rules is the same in every round.
pub(super) async fn measure(setting: &Setting, options: Sheets) -> Result<SheetsReport> {
    let input = format!("formline-loadtest.sheet-{}", now_ms());
    let topic = Topic {
        name: input.clone(),
        // As apps have it: all rows of a tab have one owner.
        partitions: 1,
        config: [].into(),
    };
    topic::apply(&setting.client, &[topic]).await?;
    progress::say(&format!("sheets: writing {} rows", options.rows));
    let written = fill(setting, &input, options.rows).await?;
    let (emulator, address) = setting.sheets_emulator().await?;
    progress::say("sheets: the sink at the quota, which takes a minute for each 50,000 rows");
    let begin = Instant::now();
    let app = setting.app(APP, &app(&input))?;
    let mut sink = setting.sink(&app, |command| {
        command.args(["--sheets", &address.to_string()]);
    })?;
    let used = |sink: &Child| cpu::so_far(&setting.watched([sink, &emulator]));
    let group = topic::group(APP, SINK);
    let busy = follow(setting, &mut sink, &group, &input, used).await?;
    sink.stop().await?;
    let found = ids(address).await?;
    emulator.stop().await?;
    let seconds = (busy.done - begin).as_secs_f64();
    let places = Places::of(&written, &found);
    Ok(SheetsReport {
        rows: options.rows,
        seconds,
        rows_per_minute: float(found.len()) * 60.0 / seconds,
        lost: places.lost,
        doubled: places.doubled,
        disordered: places.disordered,
        cpu_us: busy.cost()?,
    })
}

/// What `app.toml` says of the sink, and of the step whose rows it writes; the step does not run.
fn app(input: &str) -> String {
    format!(
        r#"
        [app]
        name = "{APP}"

        [[topic]]
        name = "{input}"
        partitions = 1

        [[topic]]
        name = "{SUBMISSIONS}"
        partitions = 1

        [[step]]
        name = "rows"
        plugin = "rows"
        input = {{ submissions = ["{SUBMISSIONS}"] }}
        output = {{ rows = "{input}" }}
        config = {{ columns = [{{ field = "roll", title = "Roll" }}] }}

        [[sink]]
        name = "{SINK}"
        kind = "sheets"
        input = ["{input}"]
        spreadsheet = "{APP}"
        tab = "{TAB}"
        "#
    )
}

/// Writes so many rows, as the step `rows` of student-data writes them, and gives their ids in the order of submission:
/// a row each millisecond, until now.
async fn fill(setting: &Setting, topic: &str, rows: u32) -> Result<Vec<String>> {
    let (producer, students) = (ready::producer(setting)?, Students::bodies(setting.seed));
    let (now, students, producer) = (Timestamp::now(), &students, &producer);
    let send = async |number: u32| {
        let (id, value) = (EventId::new().to_string(), row(students, number)?);
        let headers = Headers::with_capacity(3)
            .with(header::ID, EventId::new().to_string())
            .with(header::ORIGIN, &id)
            .with(
                header::TIME,
                event::format_time(now - i64::from(rows - number).milliseconds()),
            );
        let record = Outgoing {
            topic,
            partition: None,
            key: None,
            value: Some(&value),
            headers,
            timestamp_ms: None,
        };
        producer.send(record).await?;
        anyhow::Ok(id)
    };
    // It begins them in order, and so they lie in the topic.
    let sent = stream::iter(0..rows).map(send).buffered(ready::WRITERS);
    sent.try_collect().await
}

/// A student as a row: a cell for each field.
fn row(students: &Students, number: u32) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    students.write(number.into(), &mut body);
    let student: serde_json::Map<String, Value> = serde_json::from_slice(&body)?;
    let cells = student
        .into_iter()
        .map(|(field, value)| json!({ "column": field, "title": field, "value": value }));
    let cells: Vec<Value> = cells.collect();
    let row = json!({ "version": 1, "form": "student-data", "cells": cells });
    Ok(serde_json::to_vec(&row)?)
}

/// The first column of the tab from above, without the heading.
async fn ids(emulator: SocketAddr) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Column {
        #[serde(default)]
        values: Vec<Vec<String>>,
    }
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{emulator}/v4/spreadsheets/{APP}/values/{TAB}!A2:A");
    let answer = http.get(url).send().await?.error_for_status()?;
    let column: Column = answer.json().await.context("the sheet cannot be read")?;
    Ok(column.values.into_iter().flatten().collect())
}

// === impl Places ===

impl Places {
    /// `written` in the order of submission, `found` from above.
    fn of(written: &[String], found: &[String]) -> Self {
        let place = |(place, id): (usize, &String)| (id.clone(), place);
        let places: HashMap<String, usize> = written.iter().enumerate().map(place).collect();
        let (mut seen, mut latest) = (HashSet::new(), 0);
        let mut result = Self::default();
        for id in found {
            // A row that nobody wrote is one too many.
            let place = places.get(id).filter(|place| seen.insert(**place));
            match place {
                None => result.doubled += 1,
                Some(&place) if place < latest => result.disordered += 1,
                Some(&place) => latest = place,
            }
        }
        result.lost = written.len() - seen.len();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_doubled_or_out_of_order_is_told_apart() {
        let ids = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let places = |found| Places::of(&ids("a b c d"), &ids(found));
        assert_eq!(places("a b c d"), Places::default());
        let wrong = Places {
            lost: 1,
            doubled: 2,
            disordered: 1,
        };
        assert_eq!(places("a c b b x"), wrong);
    }
}
