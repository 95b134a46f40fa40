//! The sheets sink with a full topic at Google's default quota, which the emulator enforces.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Instant,
};

use anyhow::{Context as _, Result};
use formline_core::{
    EventId,
    event::{self, header},
    kafka::{
        record::{Headers, OutgoingRecord},
        topic::{self, Topic},
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::{
    environment::{Environment, now_ms},
    follow::follow,
    prefill,
    report::{SheetsReport, float},
};
use crate::{arguments::SheetsArgs, child::Child, cpu, generator::Students, progress};

/// The differences between the written rows and the rows in the sheet.
#[derive(Debug, Default, Eq, PartialEq)]
struct SheetDiff {
    lost: usize,
    doubled: usize,
    disordered: usize,
}

const APP: &str = "loadtest-sheets";
const SINK: &str = "sheet";
const SUBMISSIONS: &str = "formline-loadtest.submissions";
const TAB: &str = "Responses";

/// Measures once, because the quota determines the time, so that all rounds would be equal.
pub(super) async fn measure(
    environment: &Environment,
    options: SheetsArgs,
) -> Result<SheetsReport> {
    let input = format!("formline-loadtest.sheet-{}", now_ms());
    let topic = Topic {
        name: input.clone(),
        // Like in apps: one sink owns all rows of a tab.
        partitions: 1,
        config: [].into(),
    };
    topic::apply(&environment.client, &[topic]).await?;
    progress::print(&format!("sheets: writing {} rows", options.rows));
    let written = fill(environment, &input, options.rows).await?;
    let (emulator, address) = environment.sheets_emulator().await?;
    progress::print("sheets: running the sink, which takes a minute for each 50,000 rows");
    let start = Instant::now();
    let app = environment.app(APP, &app(&input))?;
    let mut sink = environment.sink(&app, |command| {
        command.args(["--sheets", &address.to_string()]);
    })?;
    let used = |sink: &Child| cpu::so_far(&environment.watched([sink, &emulator]));
    let group = topic::group(APP, SINK);
    let busy = follow(environment, &mut sink, &group, &input, used).await?;
    sink.stop().await?;
    let found = ids(address).await?;
    emulator.stop().await?;
    let seconds = (busy.done - start).as_secs_f64();
    let diff = SheetDiff::new(&written, &found);
    Ok(SheetsReport {
        rows: options.rows,
        seconds,
        rows_per_minute: float(found.len()) * 60.0 / seconds,
        lost: diff.lost,
        doubled: diff.doubled,
        disordered: diff.disordered,
        cpu_us: busy.cost()?,
    })
}

/// The app with the sink and the step whose rows it writes; the step does not run.
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

/// Writes rows like the step `rows` of student-data, and returns their ids in the order of
/// submission. There is one row for each millisecond up to now.
async fn fill(environment: &Environment, topic: &str, rows: u32) -> Result<Vec<String>> {
    let (producer, students) = (
        prefill::producer(environment)?,
        Students::bodies(environment.seed),
    );
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
        let record = OutgoingRecord {
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
    // `buffered` starts the sends in order, so the records are in order, too.
    let sent = stream::iter(0..rows).map(send).buffered(prefill::WRITERS);
    sent.try_collect().await
}

/// A student as a row with a cell for each field.
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

/// The first column of the tab from top to bottom, without the heading.
async fn ids(emulator: SocketAddr) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Column {
        #[serde(default)]
        values: Vec<Vec<String>>,
    }
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{emulator}/v4/spreadsheets/{APP}/values/{TAB}!A2:A");
    let response = http.get(url).send().await?.error_for_status()?;
    let column: Column = response.json().await.context("failed to read the sheet")?;
    Ok(column.values.into_iter().flatten().collect())
}

// === impl SheetDiff ===

impl SheetDiff {
    /// Compares the ids `written` in the order of submission with those `found` from top to bottom.
    fn new(written: &[String], found: &[String]) -> Self {
        let position = |(position, id): (usize, &String)| (id.clone(), position);
        let positions: HashMap<String, usize> = written.iter().enumerate().map(position).collect();
        let (mut seen, mut latest) = (HashSet::new(), 0);
        let mut result = Self::default();
        for id in found {
            // A row that was not written counts as a duplicate.
            let position = positions.get(id).filter(|position| seen.insert(**position));
            match position {
                None => result.doubled += 1,
                Some(&position) if position < latest => result.disordered += 1,
                Some(&position) => latest = position,
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
    fn lost_duplicated_and_disordered_rows_are_counted() {
        let ids = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let diff = |found| SheetDiff::new(&ids("a b c d"), &ids(found));
        assert_eq!(diff("a b c d"), SheetDiff::default());
        let expected = SheetDiff {
            lost: 1,
            doubled: 2,
            disordered: 1,
        };
        assert_eq!(diff("a c b b x"), expected);
    }
}
