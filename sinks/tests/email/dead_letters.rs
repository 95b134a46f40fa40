//! Finds and replays dead letters as an operator does.

use formline_core::{
    Client,
    dead_letter::{
        index::DeadLetterIndex,
        letter::{DeadLetter, DeadLetterOwner},
        replay::Replayer,
    },
    kafka::client::ClientError,
};
use formline_testing::eventually;

use crate::running::DEADLINE;

/// The open dead letters. A partition that was just created may have no leader yet.
pub(crate) async fn open(client: &Client, owner: &DeadLetterOwner) -> Vec<DeadLetter> {
    eventually(DEADLINE, async || {
        let (client, owner) = (client.clone(), owner.clone());
        let read = move || {
            let index = DeadLetterIndex::read(&client, owner)?;
            let letters = index.dead_letters(&client, 0)?;
            let letters: Result<Vec<DeadLetter>, _> = letters.collect();
            let is_open = |letter: &DeadLetter| index.closed(letter.id.offset).is_none();
            Ok::<_, ClientError>(letters?.into_iter().filter(is_open).collect())
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    })
    .await
}

/// Replays every open dead letter.
pub(crate) async fn replay(client: &Client, owner: DeadLetterOwner) {
    let (client, letters) = (client.clone(), open(client, &owner).await);
    let settle = move || {
        let mut replayer = Replayer::open(&client, owner).unwrap();
        for letter in &letters {
            replayer.replay(letter).unwrap();
        }
    };
    tokio::task::spawn_blocking(settle).await.unwrap();
}
