//! Topics are created and extended as declared.

use std::collections::BTreeMap;

use formline_core::{
    Client,
    kafka::topic::{self, Topic, TopicChange, TopicError},
};
use formline_testing::unique;

use super::support::{SOON, new_client};

/// All processes of an installation do this when they start.
#[tokio::test(flavor = "multi_thread")]
async fn several_processes_can_create_and_extend_the_same_topics_concurrently() {
    let client = new_client().await;
    let topic = |_| Topic {
        name: unique("topic"),
        partitions: 10,
        config: BTreeMap::new(),
    };
    let mut topics: Vec<Topic> = (0..5).map(topic).collect();
    let created = apply_concurrently(&client, &topics).await;
    assert_eq!(
        created
            .iter()
            .filter(|one| **one == TopicChange::Created)
            .count(),
        5
    );
    for topic in &mut topics {
        topic.partitions = 20;
    }
    let extended = apply_concurrently(&client, &topics).await;
    assert!(!extended.contains(&TopicChange::Created), "{extended:?}");
    assert!(
        extended.contains(&TopicChange::Extended { from: 10 }),
        "{extended:?}"
    );
}

/// Applies the topics in four processes at the same time, and returns all changes.
async fn apply_concurrently(client: &Client, topics: &[Topic]) -> Vec<TopicChange> {
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, topics) = (client.clone(), topics.to_vec());
        processes.spawn(async move { topic::apply(&client, &topics).await.unwrap() });
    }
    let applied = processes.join_all().await.into_iter().flatten();
    applied.map(|(_, applied)| applied).collect()
}

#[tokio::test]
async fn topics_are_created_kept_and_extended_but_never_shrunk() {
    let client = new_client().await;
    let declared = |partitions| {
        let config = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
        Topic {
            name: "placeholder".to_owned(),
            partitions,
            config,
        }
    };
    let name = unique("topic");
    for (partitions, expected) in [
        (2, TopicChange::Created),
        (2, TopicChange::Unchanged),
        (3, TopicChange::Extended { from: 2 }),
    ] {
        let topic = Topic {
            name: name.clone(),
            ..declared(partitions)
        };
        // Kafka responds before every broker knows the new number of partitions.
        formline_testing::eventually(SOON, async || {
            let applied = topic::apply(&client, std::slice::from_ref(&topic))
                .await
                .unwrap();
            applied[0].1 == expected || partitions == 2 && applied[0].1 == TopicChange::Unchanged
        })
        .await;
    }
    formline_testing::eventually(SOON, async || {
        let rejected = topic::apply(
            &client,
            &[Topic {
                name: name.clone(),
                ..declared(1)
            }],
        )
        .await;
        matches!(
            rejected,
            Err(TopicError::TooManyPartitions {
                found: 3,
                declared: 1,
                ..
            })
        )
    })
    .await;
    let invalid = Topic {
        config: [("no.such".to_owned(), "1".to_owned())].into(),
        ..declared(1)
    };
    let rejected = topic::apply(&client, &[invalid]).await;
    assert!(
        matches!(rejected, Err(TopicError::Rejected { .. })),
        "{rejected:?}"
    );
}
