//! What operators and time do to topics. Formline never sends these requests, so they are encoded
//! here.

use std::collections::BTreeMap;

use formline_core::kafka::topic::{self, Topic};
use formline_testing::kafka;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::pipeline::{Pipeline, producer};

const DELETE_TOPICS: i16 = 20;
const DELETE_RECORDS: i16 = 21;

/// Lets all records of a partition expire.
pub(crate) async fn expire(topic: &str, partition: i32) {
    let body = [
        &1_i32.to_be_bytes()[..],
        &text(topic),
        &1_i32.to_be_bytes(),
        &partition.to_be_bytes(),
        // Up to the end of the partition.
        &(-1_i64).to_be_bytes(),
        &10_000_i32.to_be_bytes(),
    ];
    ask(DELETE_RECORDS, 0, &body.concat()).await;
}

/// Deletes the topic of rows and creates it again.
pub(crate) async fn recreate_topic(pipeline: &mut Pipeline) {
    let body = [
        &1_i32.to_be_bytes()[..],
        &text(&pipeline.rows),
        &10_000_i32.to_be_bytes(),
    ];
    ask(DELETE_TOPICS, 1, &body.concat()).await;
    let again = Topic {
        name: pipeline.rows.clone(),
        partitions: 2,
        config: BTreeMap::new(),
    };
    topic::apply(&pipeline.client, &[again]).await.unwrap();
    pipeline.producer = producer(&pipeline.client);
}

fn text(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// Sends a request without a client id. The responses to the requests above end in an error code.
async fn ask(api: i16, version: i16, body: &[u8]) {
    let head = [
        &api.to_be_bytes()[..],
        &version.to_be_bytes(),
        &7_i32.to_be_bytes(),
        &(-1_i16).to_be_bytes(),
    ]
    .concat();
    let size = i32::try_from(head.len() + body.len()).unwrap();
    let mut kafka = TcpStream::connect(kafka().await.bootstrap()).await.unwrap();
    let request = [&size.to_be_bytes()[..], &head, body].concat();
    kafka.write_all(&request).await.unwrap();
    let size = usize::try_from(kafka.read_i32().await.unwrap()).unwrap();
    let mut response = vec![0; size];
    kafka.read_exact(&mut response).await.unwrap();
    assert_eq!(response[size - 2..], [0, 0], "an error code");
}
