//! Dead letters of a sink are replayed: the row is written once, and replays for other sinks add
//! none.

use std::collections::BTreeMap;

use formline_core::{
    EventId,
    dead_letter::{
        headers::DeadLetterRecord, index::DeadLetterIndex, letter::DeadLetterOwner,
        replay::Replayer,
    },
    kafka::{
        reader::{Reader, StartOffset},
        topic::{self, Topic},
    },
};
use formline_testing::eventually;
use serde_json::json;

use crate::pipeline::{DEADLINE, Pipeline, any_cells, now, outgoing};

/// Replays the oldest dead letter of a sink that reads the rows.
async fn replay(pipeline: &Pipeline, sink: &str) {
    let owner = DeadLetterOwner {
        app: pipeline.app.clone(),
        step: sink.to_owned(),
        topics: vec![pipeline.rows.clone()],
    };
    let client = pipeline.client.clone();
    let settle = move || {
        let index = DeadLetterIndex::read(&client, owner.clone()).unwrap();
        let letter = index.dead_letters(&client, 0).unwrap().next().unwrap();
        let mut replayer = Replayer::open(&client, owner).unwrap();
        replayer.replay(&letter.unwrap()).unwrap();
    };
    tokio::task::spawn_blocking(settle).await.unwrap();
}

/// Sends a row to each partition. Once these are written, all earlier records have been read.
async fn one_in_each_partition(pipeline: &Pipeline) -> [String; 2] {
    let ids = [EventId::new().to_string(), EventId::new().to_string()];
    for (partition, id) in (0..).zip(&ids) {
        let row = json!({ "version": 1, "form": "f", "cells": any_cells() }).to_string();
        let mut record = outgoing(&pipeline.rows, id, now(), Some(row.as_bytes()));
        record.partition = Some(partition);
        pipeline.producer.send(record).await.unwrap();
    }
    ids
}

#[tokio::test]
async fn a_rejected_row_is_written_once_when_it_is_replayed() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = vec![pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    // Hits the row, not the blank row, and the row again.
    let refuse = json!({ "kind": "refuse", "status": 400 });
    pipeline
        .inject_faults(json!([refuse, { "kind": "delay", "delay_ms": 1 }, refuse]))
        .await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    eventually(DEADLINE, async || pipeline.dead_letters().await.len() == 1).await;
    ids.push(pipeline.submit(now(), any_cells()).await);
    pipeline.expect(&[ids[0].clone(), ids[2].clone()]).await;

    replay(&pipeline, "sheet").await;
    eventually(DEADLINE, async || pipeline.ids().await.contains(&ids[1])).await;
    let [first, refused, third] = <[String; 3]>::try_from(ids).unwrap();
    let written = [first, third, refused];
    pipeline
        .expect(&[&written[..], &one_in_each_partition(&pipeline).await].concat())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_dead_letter_of_another_sink_adds_no_second_row() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let ids = [pipeline.submit(now(), any_cells()).await];
    pipeline.expect(&ids).await;
    dead_letter_as(&pipeline, "other").await;
    replay(&pipeline, "other").await;
    pipeline
        .expect(&[&ids[..], &one_in_each_partition(&pipeline).await].concat())
        .await;
    assert_eq!(pipeline.dead_letters().await, []);
    running.stop().await;
}

/// Dead-letters the only row, as another sink that reads it would.
async fn dead_letter_as(pipeline: &Pipeline, sink: &str) {
    let topic = topic::dead_letter(&pipeline.app, sink);
    let declared = Topic {
        name: topic.clone(),
        partitions: 1,
        config: BTreeMap::new(),
    };
    topic::apply(&pipeline.client, &[declared]).await.unwrap();
    let (client, rows) = (pipeline.client.clone(), pipeline.rows.clone());
    let read = move || {
        let mut records = Vec::new();
        let mut reader = Reader::open(&client, &rows, &[], StartOffset::Beginning).unwrap();
        let keep = |record| records.push(record);
        reader.read_to_end(|| true, keep).unwrap();
        records
    };
    let records = tokio::task::spawn_blocking(read).await.unwrap();
    let letter = DeadLetterRecord {
        record: &records[0],
        step: sink,
        reason: "refused",
        detail: "for the test",
        attempts: 1,
        plugin: None,
    };
    pipeline
        .producer
        .send(letter.outgoing(&topic))
        .await
        .unwrap();
}
