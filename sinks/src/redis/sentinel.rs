//! Listens to each Sentinel for a change of the master, so that callers do not wait for the old
//! one. This only saves time: an old master that answers is recognised by READONLY, and one that
//! does not by its timeout.

use std::{sync::Arc, time::Duration};

use formline_core::{Shutdown, retry::Backoff};
use futures::StreamExt as _;
use redis::{Client, Msg, RedisError, RedisResult, aio::PubSub};
use tokio::time::timeout;

use super::{
    connection::SharedConnection,
    endpoint::{RedisEndpoint, ServerAddress},
};

const CHANNEL: &str = "+switch-master";
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A subscription to a Sentinel that has vanished without closing the connection would stay silent
/// for ever.
const RESUBSCRIBE: Duration = Duration::from_secs(300);

/// Listens to each Sentinel, if there are any, until the shutdown begins.
pub(super) fn watch(connection: &Arc<SharedConnection>, shutdown: &Shutdown) {
    let RedisEndpoint::Sentinels {
        sentinels,
        settings,
    } = &connection.endpoint
    else {
        return;
    };
    for sentinel in sentinels {
        let watching = follow(
            sentinel.clone(),
            settings.master.clone(),
            Arc::clone(connection),
        );
        let stop = shutdown.token();
        shutdown.spawn(async move { stop.run_until_cancelled(watching).await });
    }
}

async fn follow(sentinel: Client, master: String, connection: Arc<SharedConnection>) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match subscribe(&sentinel).await {
            Ok(mut subscription) => {
                backoff.reset();
                let listen = async {
                    let mut messages = subscription.on_message();
                    while let Some(message) = messages.next().await {
                        if let Some(address) = new_master(&message, &master) {
                            connection.moved(&address);
                        }
                    }
                };
                if timeout(RESUBSCRIBE, listen).await.is_err() {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "a sentinel is unavailable"),
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

async fn subscribe(sentinel: &Client) -> RedisResult<PubSub> {
    let subscribe = async {
        let mut subscription = sentinel.get_async_pubsub().await?;
        subscription.subscribe(CHANNEL).await?;
        Ok::<_, RedisError>(subscription)
    };
    let subscribed = timeout(SUBSCRIBE_TIMEOUT, subscribe).await;
    subscribed.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

/// `NAME OLD-HOST OLD-PORT NEW-HOST NEW-PORT`.
fn new_master(message: &Msg, name: &str) -> Option<ServerAddress> {
    let text: String = message.get_payload().ok()?;
    let mut words = text.split(' ');
    let is_ours = words.next() == Some(name);
    let (host, port) = (words.nth(2)?, words.next()?.parse().ok()?);
    is_ours.then(|| (host.to_owned(), port))
}
