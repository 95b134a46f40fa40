//! The way to the master, through everything that happens to it.

use std::{collections::BTreeSet, time::Duration};

use formline_core::{
    Shutdown, Telemetry,
    settings::{self, Secret},
};
use formline_testing::{RedisSet, eventually};
use redis::Script;

use super::{Failure, Redis};

/// A fail-over on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// Adds a number to a set, which bears repetition.
const ADD: &str = "redis.call('SADD', KEYS[1], ARGV[1]) return 'added'";

fn open(place: &settings::Redis) -> Redis {
    Redis::open(place, &Shutdown::new(), &Telemetry::new()).unwrap()
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

async fn try_add(redis: &Redis, number: u32) -> Result<String, Failure> {
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
async fn a_server_that_was_restarted_or_emptied_is_another_generation() {
    let mut server_itself = formline_testing::Redis::start_own().await;
    let redis = open(&server(server_itself.url()));
    assert_eq!(redis.generation(), 0);
    add(&redis, 1).await;
    add(&redis, 2).await;
    assert_eq!(redis.generation(), 1);
    server_itself.kill();
    assert!(matches!(try_add(&redis, 3).await, Err(Failure::Away(_))));
    server_itself.restart().await;
    // What was acknowledged just before it died may be lost.
    add(&redis, 4).await;
    server_itself.restart().await;
    assert!(numbers(&redis).await.contains(&4));
    let before = redis.generation();
    assert!(before > 1);
    server_itself.restart_empty().await;
    add(&redis, 5).await;
    assert_eq!(numbers(&redis).await, [5].into());
    assert!(redis.generation() > before);
}

#[tokio::test]
async fn a_dead_master_is_left_for_the_next_one_even_if_the_first_sentinel_is_dead_too() {
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
async fn a_master_that_steps_down_with_its_connections_open_is_left() {
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
async fn a_master_that_hangs_is_left_and_what_it_had_is_not_mixed_in_when_it_wakes_up() {
    let mut set = RedisSet::start().await;
    let redis = open(&sentinels(&set));
    add(&redis, 1).await;
    let old = set.pause_master();
    assert!(matches!(try_add(&redis, 2).await, Err(Failure::Away(_))));
    add(&redis, 3).await;
    set.resume(old);
    add(&redis, 4).await;
    assert!(numbers(&redis).await.is_superset(&[3, 4].into()));
    assert!(set.port() != old);
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_not_written_to() {
    let (one, two) = (
        formline_testing::Redis::start_own().await,
        formline_testing::Redis::start_own().await,
    );
    let redis = open(&server(two.url()));
    add(&redis, 1).await;
    let port = one.url().rsplit(':').next().unwrap().to_owned();
    assert_eq!(two.ask(&["replicaof", "127.0.0.1", &port]), "OK");
    let said = eventually(DEADLINE, async || match try_add(&redis, 2).await {
        Err(Failure::Away(why)) if why.contains("is a replica") => Ok(why),
        other => Err(other),
    });
    said.await;
    assert_eq!(two.ask(&["replicaof", "no", "one"]), "OK");
    add(&redis, 3).await;
}

#[tokio::test]
async fn a_script_that_is_wrong_is_refused_and_the_connection_stays() {
    let server_itself = formline_testing::Redis::start_own().await;
    let redis = open(&server(server_itself.url()));
    add(&redis, 1).await;
    for wrong in [
        "return redis.call('GET', KEYS[1])",
        "return redis.error_reply('LOST it')",
        "this is no Lua",
        "return {1, 2}",
    ] {
        let said = redis
            .invoke::<String>(&Script::new(wrong).key("numbers"))
            .await;
        assert!(
            matches!(said, Err(Failure::Refused(_))),
            "{wrong}: {said:?}"
        );
    }
    assert_eq!(redis.generation(), 1);
}

#[tokio::test]
async fn what_a_person_can_change_is_waited_for() {
    let mut server_itself = formline_testing::Redis::start_own().await;
    let redis = open(&server(server_itself.url()));
    add(&redis, 1).await;
    for (setting, hindrance, none) in [("min-replicas-to-write", "3", "0"), ("maxmemory", "1", "0")]
    {
        assert_eq!(
            server_itself.ask(&["config", "set", setting, hindrance]),
            "OK"
        );
        let said = try_add(&redis, 2).await;
        assert!(matches!(said, Err(Failure::Away(_))), "{setting}: {said:?}");
        assert_eq!(server_itself.ask(&["config", "set", setting, none]), "OK");
        add(&redis, 2).await;
    }
    server_itself.restart().await;
    let locked_out = open(&server(server_itself.url().replace("//", "//:wrong@")));
    let said = try_add(&locked_out, 3).await;
    assert!(matches!(said, Err(Failure::Denied(_))), "{said:?}");
    let user = [
        "acl", "setuser", "guest", "on", ">guest", "~*", "+@all", "-evalsha",
    ];
    assert_eq!(server_itself.ask(&user), "OK");
    let guest = open(&server(server_itself.url().replace("//", "//guest:guest@")));
    let said = try_add(&guest, 3).await;
    assert!(matches!(said, Err(Failure::Denied(_))), "{said:?}");
    // It speaks no TLS.
    let encrypted = open(&server(server_itself.url().replace("redis:", "rediss:")));
    let said = try_add(&encrypted, 3).await;
    assert!(matches!(said, Err(Failure::Away(_))), "{said:?}");
}

#[tokio::test]
async fn sentinels_that_know_no_such_master_and_servers_in_the_wrong_place_are_named() {
    let set = RedisSet::start().await;
    let settings::Redis::Sentinels(mut wrong) = sentinels(&set) else {
        unreachable!("these are sentinels")
    };
    wrong.master = "other".to_owned();
    let redis = open(&settings::Redis::Sentinels(wrong));
    let said = try_add(&redis, 1).await;
    assert!(
        matches!(said, Err(Failure::Away(why)) if why.contains("no sentinel knows a master `other`"))
    );
    let (host, port) = set.sentinels().swap_remove(0);
    let redis = open(&server(format!("redis://{host}:{port}")));
    let said = try_add(&redis, 1).await;
    assert!(
        matches!(said, Err(Failure::Away(why)) if why.contains("name a sentinel in `sentinels`"))
    );
}
