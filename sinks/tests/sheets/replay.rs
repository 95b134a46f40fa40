//! Dead letters of a sink that are replayed: the row lands once, and what another sink gave up adds none.

use std::collections::BTreeMap;

use formline_core::{
    EventId,
    dead_letter::DeadLetter,
    ledger::{DeadLetters, Ledger},
    reader::{From, Reader},
    settlement::Settler,
    topic::{self, Topic},
};
use formline_testing::eventually;
use serde_json::json;

use crate::line::{DEADLINE, Line, any, now, outgoing};

/// Replays the oldest letter of a sink that reads the rows.
async fn replay(line: &Line, sink: &str) {
    let owner = DeadLetters {
        app: line.app.clone(),
        step: sink.to_owned(),
        topics: vec![line.rows.clone()],
    };
    let client = line.client.clone();
    let settle = move || {
        let ledger = Ledger::read(&client, owner.clone()).unwrap();
        let letter = ledger.letters(&client, 0).unwrap().next().unwrap();
        let mut settler = Settler::open(&client, owner).unwrap();
        settler.replay(&letter.unwrap()).unwrap();
    };
    tokio::task::spawn_blocking(settle).await.unwrap();
}

/// Rows behind which nothing of what was there before is unread.
async fn one_in_each_partition(line: &Line) -> [String; 2] {
    let ids = [EventId::new().to_string(), EventId::new().to_string()];
    for (partition, id) in (0..).zip(&ids) {
        let row = json!({ "version": 1, "form": "f", "cells": any() }).to_string();
        let mut record = outgoing(&line.rows, id, now(), Some(row.as_bytes()));
        record.partition = Some(partition);
        line.producer.send(record).await.unwrap();
    }
    ids
}

#[tokio::test]
async fn a_row_that_google_has_refused_lands_once_when_it_is_replayed() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = vec![line.submit(now(), any()).await];
    line.expect(&ids).await;
    // The row, not the blank one, and the row again.
    let refuse = json!({ "kind": "refuse", "status": 400 });
    line.plan(json!([refuse, { "kind": "delay", "delay_ms": 1 }, refuse]))
        .await;
    ids.push(line.submit(now(), any()).await);
    eventually(DEADLINE, async || line.dead_letters().await.len() == 1).await;
    ids.push(line.submit(now(), any()).await);
    line.expect(&[ids[0].clone(), ids[2].clone()]).await;

    replay(&line, "sheet").await;
    eventually(DEADLINE, async || line.ids().await.contains(&ids[1])).await;
    let [first, refused, third] = <[String; 3]>::try_from(ids).unwrap();
    let written = [first, third, refused];
    line.expect(&[&written[..], &one_in_each_partition(&line).await].concat())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn what_another_sink_gave_up_brings_no_second_row() {
    let line = Line::new().await;
    let running = line.start();
    let ids = [line.submit(now(), any()).await];
    line.expect(&ids).await;
    park_as(&line, "other").await;
    replay(&line, "other").await;
    line.expect(&[&ids[..], &one_in_each_partition(&line).await].concat())
        .await;
    assert_eq!(line.dead_letters().await, []);
    running.stop().await;
}

/// Parks the only row, as another sink that reads it would.
async fn park_as(line: &Line, sink: &str) {
    let topic = topic::dead_letter(&line.app, sink);
    let declared = Topic {
        name: topic.clone(),
        partitions: 1,
        config: BTreeMap::new(),
    };
    topic::apply(&line.client, &[declared]).await.unwrap();
    let (client, rows) = (line.client.clone(), line.rows.clone());
    let read = move || {
        let mut records = Vec::new();
        let mut reader = Reader::open(&client, &rows, &[], From::Beginning).unwrap();
        let keep = |record| records.push(record);
        reader.read_to_end(|| true, keep).unwrap();
        records
    };
    let records = tokio::task::spawn_blocking(read).await.unwrap();
    let letter = DeadLetter {
        record: &records[0],
        step: sink,
        reason: "refused",
        detail: "for the test",
        attempts: 1,
        plugin: None,
    };
    line.producer.send(letter.outgoing(&topic)).await.unwrap();
}
