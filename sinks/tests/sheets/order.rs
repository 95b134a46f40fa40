//! Rows stand in the order of their submission.

use std::{sync::Arc, time::Duration};

use formline_core::{
    Consumer, EventId,
    app::{Limits, Location, Step},
    consumer::{self, Polled},
    record::Outgoing,
    topic::{self, Topic},
    transaction::Transactions,
};
use serde_json::{Value, json};

use crate::{
    kafka::expire,
    line::{DEADLINE, Line, any, earlier, now, outgoing},
};
use formline_testing::eventually;

#[tokio::test]
async fn rows_that_come_out_of_order_are_put_in_order() {
    let line = Line::new().await;
    let begin = now();
    let mut sent = Vec::new();
    for n in [7_i64, 2, 9, 0, 5, 1, 8, 3, 6, 4] {
        for twin in 0..3 {
            let time = begin + jiff::SignedDuration::from_millis(n * 10);
            sent.push((n, line.submit(time, any()).await, twin));
        }
    }
    // All are there when the sink comes, so that none is written before an earlier one has come.
    let running = line.start();
    // Submissions of one moment stand in order of their ids.
    sent.sort();
    let ids: Vec<_> = sent.into_iter().map(|(_, id, _)| id).collect();
    line.expect(&ids).await;
    assert!(
        line.sheet().await.iter().all(|row| row[2] == ""),
        "none is late"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_submission_that_comes_too_late_is_flagged() {
    let line = Line::new().await;
    let running = line.start();
    let first = line.submit(now(), any()).await;
    line.expect(std::slice::from_ref(&first)).await;
    let late = line.submit(earlier(60_000), any()).await;
    line.expect(&[first, late]).await;
    let notes: Vec<_> = line
        .sheet()
        .await
        .iter()
        .map(|row| row[2].clone())
        .collect();
    assert_eq!(notes, ["", "late"]);
    running.stop().await;
}

/// A step that works only when it is told to.
struct SlowStep<'a> {
    line: &'a Line,
    submissions: String,
}

impl<'a> SlowStep<'a> {
    async fn new(line: &'a Line) -> Self {
        let submissions = format!("{}.submissions", line.app);
        let topic = Topic {
            name: submissions.clone(),
            partitions: 3,
            config: [].into(),
        };
        topic::apply(&line.client, &[topic]).await.unwrap();
        Self { line, submissions }
    }

    fn definition(&self) -> formline_core::App {
        let mut app = self.line.definition();
        app.steps.push(Arc::new(Step {
            app: self.line.app.clone(),
            name: "rows".to_owned(),
            plugin: "rows".to_owned(),
            input: [("submissions".to_owned(), vec![self.submissions.clone()])].into(),
            output: [("rows".to_owned(), self.line.rows.clone())].into(),
            config: Value::Null,
            limits: Limits::default(),
            workers: 1,
            location: Location {
                file: Arc::default(),
                line: 1,
            },
        }));
        app
    }

    /// A submission that is in Kafka and not yet on the rows topic.
    async fn accept(&self, time: jiff::Timestamp) -> String {
        let id = EventId::new().to_string();
        let record = outgoing(&self.submissions, &id, time, Some(b"{}"));
        self.line.producer.send(record).await.unwrap();
        id
    }

    /// Makes rows of everything that was accepted, in one transaction per submission, as a step does.
    async fn work(&self, submissions: usize) {
        let (client, rows) = (self.line.client.clone(), self.line.rows.clone());
        let options = consumer::Options {
            group: topic::group(&self.line.app, "rows"),
            member: "step".to_owned(),
            topics: vec![self.submissions.clone()],
        };
        let id = format!("{}.step", self.line.app);
        let work = move || {
            let mut consumer = Consumer::join(&client, &options).unwrap();
            let mut transactions = Transactions::open(&client, &id, "").unwrap();
            let mut left = submissions;
            while left > 0 {
                let Polled::Record(record) = consumer.poll(Duration::from_millis(100)).unwrap()
                else {
                    continue;
                };
                let row = json!({ "version": 1, "form": "f", "cells": any() }).to_string();
                let id = record.text_header("formline-origin").unwrap();
                let time = formline_core::event::time(&record);
                let mut transaction = transactions.begin().unwrap();
                transaction
                    .send(outgoing(&rows, id, time, Some(row.as_bytes())))
                    .unwrap();
                let next = [(record.partition.clone(), record.offset + 1)];
                transaction.commit(&next, &consumer).unwrap();
                left -= 1;
            }
        };
        tokio::task::spawn_blocking(work).await.unwrap();
    }
}

#[tokio::test]
async fn a_row_waits_for_earlier_submissions_that_are_still_under_way() {
    let line = Line::new().await;
    let step = SlowStep::new(&line).await;
    let running = line.start_as("one", step.definition());
    let begin = now();
    let mut ids = vec![step.accept(begin).await];
    let later = line
        .submit(begin + jiff::SignedDuration::from_millis(1), any())
        .await;
    eventually(DEADLINE, async || !line.grid().await.is_empty()).await;
    // Ten times the grace: without the wait it would be there.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        line.ids().await.len(),
        0,
        "an earlier submission is under way"
    );
    ids.push(later);
    for _ in 0..10 {
        ids.push(step.accept(now()).await);
    }
    step.work(11).await;
    line.expect(&ids).await;
    assert!(
        line.sheet().await.iter().all(|row| row[2] == ""),
        "none is late"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_row_does_not_wait_for_ever() {
    let mut line = Line::new().await;
    line.settings.hold_back = Duration::from_secs(1);
    let step = SlowStep::new(&line).await;
    let running = line.start_as("one", step.definition());
    let stuck = step.accept(now()).await;
    let free = line.submit(now(), any()).await;
    line.expect(std::slice::from_ref(&free)).await;
    step.work(1).await;
    line.expect(&[free, stuck]).await;
    assert_eq!(line.sheet().await[1][2], "late");
    running.stop().await;
}

#[tokio::test]
async fn a_partition_whose_records_have_all_expired_holds_nothing_back() {
    let mut line = Line::new().await;
    // Far longer than the test waits.
    line.settings.hold_back = Duration::from_secs(600);
    let row = json!({ "version": 1, "form": "f", "cells": any() }).to_string();
    let submit = async |partition| {
        let id = EventId::new().to_string();
        let record = outgoing(&line.rows, &id, now(), Some(row.as_bytes()));
        let record = Outgoing {
            partition: Some(partition),
            ..record
        };
        line.producer.send(record).await.unwrap();
        id
    };
    submit(0).await;
    expire(&line.rows, 0).await;
    let running = line.start();
    let mut ids = vec![submit(1).await];
    line.expect(&ids).await;
    ids.push(submit(0).await);
    ids.push(submit(1).await);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_single_row_needs_no_other_to_follow() {
    let mut line = Line::new().await;
    line.settings.grace = Duration::from_millis(750);
    let running = line.start();
    let first = line.submit(now(), any()).await;
    line.expect(std::slice::from_ref(&first)).await;
    let second = line.submit(now(), any()).await;
    line.expect(&[first, second]).await;
    running.stop().await;
}
