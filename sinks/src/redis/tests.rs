//! Reaches the master through restarts, fail-overs and outages.

use std::{collections::BTreeSet, time::Duration};

use formline_core::{Secret, Shutdown, Telemetry, settings};
use formline_testing::{RedisSet, eventually};
use redis::Script;

use super::{Redis, ScriptError};

/// Long enough for a fail-over on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// Adds a number to a set, which may be repeated.
const ADD: &str = "redis.call('SADD', KEYS[1], ARGV[1]) return 'added'";

fn open(endpoint: &settings::Redis) -> Redis {
    Redis::open(endpoint, &Shutdown::new(), &Telemetry::new()).unwrap()
}

fn server(url: impl Into<String>) -> settings::Redis {
    settings::Redis::Server(Secret::new(url))
}

fn sentinels(set: &RedisSet) -> settings::Redis {
    settings::Redis::Sentinels(settings::Sentinels {
        addresses: set.sentinels(),
        master: RedisSet::MASTER.to_owned(),
        user: None,
        password: None,
        sentinel_password: None,
        tls: false,
    })
}

async fn try_add(redis: &Redis, number: u32) -> Result<String, ScriptError> {
    redis
        .invoke(Script::new(ADD).key("numbers").arg(number))
        .await
}

async fn add(redis: &Redis, number: u32) {
    let added = eventually(DEADLINE, || try_add(redis, number)).await;
    assert_eq!(added, "added");
}

async fn numbers(redis: &Redis) -> BTreeSet<u32> {
    let script = Script::new("return redis.call('SMEMBERS', KEYS[1])");
    eventually(DEADLINE, async || {
        redis.invoke(&script.key("numbers")).await
    })
    .await
}

#[tokio::test]
async fn a_server_that_was_restarted_or_emptied_has_a_new_generation() {
    let mut process = formline_testing::Redis::start_own().await;
    let redis = open(&server(process.url()));
    assert_eq!(redis.generation(), 0);
    add(&redis, 1).await;
    add(&redis, 2).await;
    assert_eq!(redis.generation(), 1);
    process.kill();
    assert!(matches!(
        try_add(&redis, 3).await,
        Err(ScriptError::Unavailable(_))
    ));
    process.restart().await;
    // Writes that were acknowledged just before the server died may be lost.
    add(&redis, 4).await;
    process.restart().await;
    assert!(numbers(&redis).await.contains(&4));
    let before = redis.generation();
    assert!(before > 1);
    process.restart_empty().await;
    add(&redis, 5).await;
    assert_eq!(numbers(&redis).await, [5].into());
    assert!(redis.generation() > before);
}

#[tokio::test]
async fn the_client_follows_a_fail_over_although_the_first_sentinel_is_dead_too() {
    let mut set = RedisSet::start().await;
    set.kill_sentinel(0);
    let redis = open(&sentinels(&set));
    add(&redis, 1).await;
    set.kill_master();
    // The new master has never seen the script.
    add(&redis, 2).await;
    assert!(redis.generation() > 1);
    assert!(numbers(&redis).await.contains(&2));
}

#[tokio::test]
async fn a_master_that_steps_down_with_open_connections_is_left() {
    let mut set = RedisSet::start().await;
    let redis = open(&sentinels(&set));
    add(&redis, 1).await;
    let old = set.port();
    set.order_fail_over().await;
    set.wait_for_other_master(old).await;
    add(&redis, 2).await;
    assert_eq!(numbers(&redis).await, [1, 2].into());
    assert!(redis.generation() > 1);
}

#[tokio::test]
async fn a_hanging_master_is_left_and_is_ignored_when_it_wakes_up() {
    let mut set = RedisSet::start().await;
    let redis = open(&sentinels(&set));
    add(&redis, 1).await;
    let old = set.pause_master();
    assert!(matches!(
        try_add(&redis, 2).await,
        Err(ScriptError::Unavailable(_))
    ));
    add(&redis, 3).await;
    set.resume(old);
    add(&redis, 4).await;
    assert!(numbers(&redis).await.is_superset(&[3, 4].into()));
    assert!(set.port() != old);
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_not_written() {
    let (one, two) = (
        formline_testing::Redis::start_own().await,
        formline_testing::Redis::start_own().await,
    );
    let redis = open(&server(two.url()));
    add(&redis, 1).await;
    let port = one.url().rsplit(':').next().unwrap().to_owned();
    assert_eq!(two.ask(&["replicaof", "127.0.0.1", &port]), "OK");
    let result = eventually(DEADLINE, async || match try_add(&redis, 2).await {
        Err(ScriptError::Unavailable(why)) if why.contains("is a replica") => Ok(why),
        other => Err(other),
    });
    result.await;
    assert_eq!(two.ask(&["replicaof", "no", "one"]), "OK");
    add(&redis, 3).await;
}

#[tokio::test]
async fn a_wrong_script_is_rejected_and_the_connection_stays() {
    let process = formline_testing::Redis::start_own().await;
    let redis = open(&server(process.url()));
    add(&redis, 1).await;
    for wrong in [
        "return redis.call('GET', KEYS[1])",
        "return redis.error_reply('LOST it')",
        "this is not Lua",
        "return {1, 2}",
    ] {
        let result = redis
            .invoke::<String>(&Script::new(wrong).key("numbers"))
            .await;
        assert!(
            matches!(result, Err(ScriptError::Rejected(_))),
            "{wrong}: {result:?}"
        );
    }
    assert_eq!(redis.generation(), 1);
}

#[tokio::test]
async fn conditions_that_an_operator_can_change_are_retried() {
    let mut process = formline_testing::Redis::start_own().await;
    let redis = open(&server(process.url()));
    add(&redis, 1).await;
    for (setting, obstacle, none) in [("min-replicas-to-write", "3", "0"), ("maxmemory", "1", "0")]
    {
        assert_eq!(process.ask(&["config", "set", setting, obstacle]), "OK");
        let result = try_add(&redis, 2).await;
        assert!(
            matches!(result, Err(ScriptError::Unavailable(_))),
            "{setting}: {result:?}"
        );
        assert_eq!(process.ask(&["config", "set", setting, none]), "OK");
        add(&redis, 2).await;
    }
    process.restart().await;
    let locked_out = open(&server(process.url().replace("//", "//:wrong@")));
    let result = try_add(&locked_out, 3).await;
    assert!(matches!(result, Err(ScriptError::Denied(_))), "{result:?}");
    let user = [
        "acl", "setuser", "guest", "on", ">guest", "~*", "+@all", "-evalsha",
    ];
    assert_eq!(process.ask(&user), "OK");
    let guest = open(&server(process.url().replace("//", "//guest:guest@")));
    let result = try_add(&guest, 3).await;
    assert!(matches!(result, Err(ScriptError::Denied(_))), "{result:?}");
    // The server does not use TLS.
    let encrypted = open(&server(process.url().replace("redis:", "rediss:")));
    let result = try_add(&encrypted, 3).await;
    assert!(
        matches!(result, Err(ScriptError::Unavailable(_))),
        "{result:?}"
    );
}

#[tokio::test]
async fn an_unknown_master_and_a_sentinel_in_place_of_a_server_are_reported() {
    let set = RedisSet::start().await;
    let settings::Redis::Sentinels(mut wrong) = sentinels(&set) else {
        unreachable!("these are sentinels")
    };
    wrong.master = "other".to_owned();
    let redis = open(&settings::Redis::Sentinels(wrong));
    let result = try_add(&redis, 1).await;
    assert!(
        matches!(result, Err(ScriptError::Unavailable(why)) if why.contains("no sentinel knows a master `other`"))
    );
    let (host, port) = set.sentinels().swap_remove(0);
    let redis = open(&server(format!("redis://{host}:{port}")));
    let result = try_add(&redis, 1).await;
    assert!(
        matches!(result, Err(ScriptError::Unavailable(why)) if why.contains("configure a sentinel in `sentinels`"))
    );
}
