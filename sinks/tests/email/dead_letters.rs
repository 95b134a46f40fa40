//! Finds and replays dead letters as an operator does.

use formline_core::{
    Client, client,
    ledger::{DeadLetters, Ledger},
    letter::Letter,
    settlement::Settler,
};
use formline_testing::eventually;

use crate::running::DEADLINE;

/// The open dead letters. A partition that was just created may have no leader yet.
pub(crate) async fn open(client: &Client, owner: &DeadLetters) -> Vec<Letter> {
    eventually(DEADLINE, async || {
        let (client, owner) = (client.clone(), owner.clone());
        let read = move || {
            let ledger = Ledger::read(&client, owner)?;
            let letters = ledger.letters(&client, 0)?;
            let letters: Result<Vec<Letter>, _> = letters.collect();
            let is_open = |letter: &Letter| ledger.closed(letter.id.offset).is_none();
            Ok::<_, client::Error>(letters?.into_iter().filter(is_open).collect())
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    })
    .await
}

/// Replays every open dead letter.
pub(crate) async fn replay(client: &Client, owner: DeadLetters) {
    let (client, letters) = (client.clone(), open(client, &owner).await);
    let settle = move || {
        let mut settler = Settler::open(&client, owner).unwrap();
        for letter in &letters {
            settler.replay(letter).unwrap();
        }
    };
    tokio::task::spawn_blocking(settle).await.unwrap();
}
