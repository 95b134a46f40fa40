//! Rows are in the order of their submission.

use std::{sync::Arc, time::Duration};

use formline_core::{
    Consumer, EventId,
    app::{Limits, Location, Step},
    kafka::{
        consumer::{ConsumerOptions, Polled},
        record::OutgoingRecord,
        topic::{self, Topic},
        transaction::TransactionalProducer,
    },
};
use serde_json::{Value, json};

use crate::{
    kafka::expire,
    pipeline::{DEADLINE, Pipeline, any_cells, earlier, now, outgoing},
};
use formline_testing::eventually;

#[tokio::test]
async fn rows_that_arrive_out_of_order_are_written_in_order() {
    let pipeline = Pipeline::new().await;
    let begin = now();
    let mut sent = Vec::new();
    for n in [7_i64, 2, 9, 0, 5, 1, 8, 3, 6, 4] {
        for twin in 0..3 {
            let time = begin + jiff::SignedDuration::from_millis(n * 10);
            sent.push((n, pipeline.submit(time, any_cells()).await, twin));
        }
    }
    // All rows are in Kafka when the sink starts, so none is written before an earlier one has
    // arrived.
    let running = pipeline.start();
    // Submissions with the same time are in the order of their ids.
    sent.sort();
    let ids: Vec<_> = sent.into_iter().map(|(_, id, _)| id).collect();
    pipeline.expect(&ids).await;
    assert!(
        pipeline.sheet().await.iter().all(|row| row[2] == ""),
        "no row is late"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_submission_that_arrives_too_late_is_flagged() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let first = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(std::slice::from_ref(&first)).await;
    let late = pipeline.submit(earlier(60_000), any_cells()).await;
    pipeline.expect(&[first, late]).await;
    let notes: Vec<_> = pipeline
        .sheet()
        .await
        .iter()
        .map(|row| row[2].clone())
        .collect();
    assert_eq!(notes, ["", "late"]);
    running.stop().await;
}

/// A step that processes records only on demand.
struct SlowStep<'a> {
    pipeline: &'a Pipeline,
    submissions: String,
}

impl<'a> SlowStep<'a> {
    async fn new(pipeline: &'a Pipeline) -> Self {
        let submissions = format!("{}.submissions", pipeline.app);
        let topic = Topic {
            name: submissions.clone(),
            partitions: 3,
            config: [].into(),
        };
        topic::apply(&pipeline.client, &[topic]).await.unwrap();
        Self {
            pipeline,
            submissions,
        }
    }

    fn definition(&self) -> formline_core::App {
        let mut app = self.pipeline.definition();
        app.steps.push(Arc::new(Step {
            app: self.pipeline.app.clone(),
            name: "rows".to_owned(),
            plugin: "rows".to_owned(),
            input: [("submissions".to_owned(), vec![self.submissions.clone()])].into(),
            output: [("rows".to_owned(), self.pipeline.rows.clone())].into(),
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

    /// A submission that is in Kafka but not yet on the rows topic.
    async fn accept(&self, time: jiff::Timestamp) -> String {
        let id = EventId::new().to_string();
        let record = outgoing(&self.submissions, &id, time, Some(b"{}"));
        self.pipeline.producer.send(record).await.unwrap();
        id
    }

    /// Makes rows of the submissions, in one transaction each, as a step does.
    async fn work(&self, submissions: usize) {
        let (client, rows) = (self.pipeline.client.clone(), self.pipeline.rows.clone());
        let options = ConsumerOptions {
            group: topic::group(&self.pipeline.app, "rows"),
            member: "step".to_owned(),
            topics: vec![self.submissions.clone()],
        };
        let id = format!("{}.step", self.pipeline.app);
        let work = move || {
            let mut consumer = Consumer::join(&client, &options).unwrap();
            let mut transactions = TransactionalProducer::open(&client, &id, "").unwrap();
            let mut left = submissions;
            while left > 0 {
                let Polled::Record(record) = consumer.poll(Duration::from_millis(100)).unwrap()
                else {
                    continue;
                };
                let row = json!({ "version": 1, "form": "f", "cells": any_cells() }).to_string();
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
async fn a_row_waits_for_earlier_submissions_in_the_pipeline() {
    let pipeline = Pipeline::new().await;
    let step = SlowStep::new(&pipeline).await;
    let running = pipeline.start_as("one", step.definition());
    let begin = now();
    let mut ids = vec![step.accept(begin).await];
    let later = pipeline
        .submit(begin + jiff::SignedDuration::from_millis(1), any_cells())
        .await;
    eventually(DEADLINE, async || !pipeline.grid().await.is_empty()).await;
    // Ten times the grace: without the wait for earlier submissions, the row would be there.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        pipeline.ids().await.len(),
        0,
        "an earlier submission is in the pipeline"
    );
    ids.push(later);
    for _ in 0..10 {
        ids.push(step.accept(now()).await);
    }
    step.work(11).await;
    pipeline.expect(&ids).await;
    assert!(
        pipeline.sheet().await.iter().all(|row| row[2] == ""),
        "no row is late"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_row_is_not_held_back_for_ever() {
    let mut pipeline = Pipeline::new().await;
    pipeline.settings.hold_back = Duration::from_secs(1);
    let step = SlowStep::new(&pipeline).await;
    let running = pipeline.start_as("one", step.definition());
    let stuck = step.accept(now()).await;
    let free = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(std::slice::from_ref(&free)).await;
    step.work(1).await;
    pipeline.expect(&[free, stuck]).await;
    assert_eq!(pipeline.sheet().await[1][2], "late");
    running.stop().await;
}

#[tokio::test]
async fn a_partition_whose_records_have_all_expired_holds_nothing_back() {
    let mut pipeline = Pipeline::new().await;
    // Far longer than the test takes.
    pipeline.settings.hold_back = Duration::from_secs(600);
    let row = json!({ "version": 1, "form": "f", "cells": any_cells() }).to_string();
    let submit = async |partition| {
        let id = EventId::new().to_string();
        let record = outgoing(&pipeline.rows, &id, now(), Some(row.as_bytes()));
        let record = OutgoingRecord {
            partition: Some(partition),
            ..record
        };
        pipeline.producer.send(record).await.unwrap();
        id
    };
    submit(0).await;
    expire(&pipeline.rows, 0).await;
    let running = pipeline.start();
    let mut ids = vec![submit(1).await];
    pipeline.expect(&ids).await;
    ids.push(submit(0).await);
    ids.push(submit(1).await);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_single_row_is_written_without_another_to_follow() {
    let mut pipeline = Pipeline::new().await;
    pipeline.settings.grace = Duration::from_millis(750);
    let running = pipeline.start();
    let first = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(std::slice::from_ref(&first)).await;
    let second = pipeline.submit(now(), any_cells()).await;
    pipeline.expect(&[first, second]).await;
    running.stop().await;
}
