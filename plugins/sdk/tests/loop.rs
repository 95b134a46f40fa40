//! How a plug-in processes events: what is accepted, what is rolled back, and which limits apply.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::time::Duration;

use formline_plugin_sdk::testing::{Input, Limits, Partition};
use formline_plugin_sdk::{Store, prelude::*};

/// Does what the event says, so that each test can be read on its own.
struct Obedient {
    prefix: String,
    seen: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    Send(Vec<String>),
    SendTo(String),
    SendReserved,
    SendUnserializable,
    SendThenReject(String),
    SendThenSkip,
    SendThenRetry,
    Put(String, serde_json::Value),
    PutThenReject(String, serde_json::Value),
    PutTo(String),
    Get(String),
    Delete(String),
    Scan(String, Option<String>, u32),
    Ids,
    Describe,
    Count,
    Seen,
}

impl Plugin for Obedient {
    type Config = Config;
    const INPUTS: &[&str] = &["orders", "urgent-orders"];
    const OUTPUTS: &[&str] = &["done"];
    const STORES: &[StoreDeclaration] = &[StoreDeclaration {
        name: "memory",
        schema_version: 1,
    }];
    const COUNTERS: &[&str] = &["counted"];

    fn new(config: Config) -> Result<Self, InitError> {
        if config.prefix.is_empty() {
            return Err(InitError::new("empty-prefix", "give the prefix a letter"));
        }
        Ok(Self {
            prefix: config.prefix,
            seen: 0,
        })
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        self.seen += 1;
        let mut memory = out.store("memory");
        match event.json()? {
            Order::Send(values) => values.iter().try_for_each(|value| {
                out.send("done", Record::new(format!("{}{value}", self.prefix)))
            }),
            Order::SendTo(port) => out.send(&port, Record::new("x")),
            Order::SendReserved => out.send("done", Record::new("x").header("ce_id", "mine")),
            Order::SendUnserializable => out.send("done", unserializable()?),
            Order::SendThenReject(code) => {
                out.send("done", Record::new("x"))?;
                Err(Reject::violates_invariant(code, "as told"))
            }
            Order::SendThenSkip => {
                out.send("done", Record::new("x"))?;
                Err(Reject::skip("as told"))
            }
            Order::SendThenRetry => {
                out.send("done", Record::new("x"))?;
                Err(Reject::retry_later(Duration::from_secs(2), "as told"))
            }
            Order::Put(key, value) => memory.put_json(key, &value),
            Order::PutThenReject(key, value) => {
                memory.put_json(key, &value)?;
                Err(Reject::other("as-told", "as told"))
            }
            Order::PutTo(store) => {
                assert_eq!(store, "nowhere");
                out.store("nowhere").put("a", b"1")
            }
            Order::Get(key) => out.send("done", Record::json(&memory.get_json::<u32>(key)?)?),
            Order::Delete(key) => memory.delete(key),
            Order::Scan(prefix, after, limit) => {
                let keys = scanned(&memory, &prefix, after.as_deref(), limit)?;
                out.send("done", Record::json(&keys)?)
            }
            Order::Ids => out.send(
                "done",
                Record::json(&[event.derive_id(), event.derive_id()])?,
            ),
            Order::Describe => out.send("done", description(event)?),
            Order::Count => {
                out.count("counted", 2);
                out.log(Level::Warn, "counted");
                Ok(())
            }
            Order::Seen => out.send("done", Record::json(&self.seen)?),
        }
    }
}

register!(Obedient);

/// JSON has no map whose keys are not strings.
fn unserializable() -> Result<Record, Reject> {
    let map: std::collections::BTreeMap<_, _> = [((1, 2), 3)].into();
    Record::json(&map)
}

fn scanned(
    store: &Store,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>, Reject> {
    let entries = store.scan(prefix, after.map(str::as_bytes), limit)?;
    let keys = entries.iter().map(|(key, _)| key);
    Ok(keys
        .map(|key| String::from_utf8_lossy(key).into_owned())
        .collect())
}

/// Everything that an event knows about itself.
fn description(event: &Event) -> Result<Record, Reject> {
    let position = (
        event.port(),
        event.topic(),
        event.partition(),
        event.offset(),
    );
    let times = (event.timestamp_ms(), event.batch_time_ms(), event.attempt());
    let record = Record::json(&(position, times, event.form()?, event.origin()?))?;
    Ok(record.key("described").header("lang", "en").timestamp_ms(7))
}

fn partition() -> Partition<Obedient> {
    Partition::start(r#"{"prefix":">"}"#).unwrap()
}

/// The only value that an order makes the plug-in send.
fn ask(partition: &mut Partition<Obedient>, order: &str) -> String {
    let sent = partition.process(Input::new(order)).unwrap();
    assert_eq!(sent.len(), 1, "{order}");
    sent[0].text().to_owned()
}

fn rejection(partition: &mut Partition<Obedient>, order: &str) -> (RejectKind, String) {
    match partition.process(Input::new(order)) {
        Err(Reject::DeadLetter { kind, code, .. }) => (kind, code),
        other => panic!("{order} should be rejected, but led to {other:?}"),
    }
}

#[test]
fn records_keep_their_order_and_the_events_key_and_time() {
    let input = Input::new(r#"{"send":["a","b"]}"#).key("k").timestamp_ms(5);
    let sent = partition().process(input).unwrap();
    let values: Vec<_> = sent
        .iter()
        .map(|record| (record.key_text(), record.text()))
        .collect();
    assert_eq!(values, [("k", ">a"), ("k", ">b")]);
    assert!(
        sent.iter()
            .all(|record| record.timestamp_ms == 5 && record.port == "done")
    );
}

#[test]
fn a_rejected_event_rolls_back_only_its_own_records() {
    let outcomes = partition().process_batch([
        Input::new(r#"{"send":["a"]}"#),
        Input::new(r#"{"send-then-reject":"unlucky"}"#),
        Input::new(r#""send-then-skip""#),
        Input::new(r#"{"send":["b"]}"#),
    ]);
    assert_eq!(outcomes.len(), 4);
    assert_eq!(outcomes[0].as_ref().unwrap()[0].text(), ">a");
    assert_eq!(
        outcomes[1],
        Err(Reject::violates_invariant("unlucky", "as told"))
    );
    assert_eq!(outcomes[2], Err(Reject::skip("as told")));
    assert_eq!(outcomes[3].as_ref().unwrap()[0].text(), ">b");
}

#[test]
fn an_event_to_be_retried_ends_the_batch_and_is_not_skipped() {
    let mut partition = partition();
    let later = Input::new(r#""send-then-retry""#);
    let outcomes =
        partition.process_batch([Input::new(r#"{"send":["a"]}"#), later, Input::new("1")]);
    assert_eq!(outcomes.len(), 2);
    let why = outcomes[1].clone().unwrap_err();
    assert_eq!(why, Reject::retry_later(Duration::from_secs(2), "as told"));
    assert_eq!(why.to_string(), "to be retried after 2000 ms: as told");

    let again = partition.process(described()).unwrap();
    assert_eq!(again[0].json()[0][3], 1, "the offset of the deferred event");
}

#[test]
fn a_store_outlives_the_instance_but_fields_do_not() {
    let mut partition = partition();
    partition.process(Input::new(r#"{"put":["a",1]}"#)).unwrap();
    assert_eq!(ask(&mut partition, r#""seen""#), "2");
    partition.restart();
    assert_eq!(ask(&mut partition, r#""seen""#), "1");
    assert_eq!(ask(&mut partition, r#"{"get":"a"}"#), "1");
}

#[test]
fn a_rejected_event_rolls_back_what_it_has_stored() {
    let mut partition = partition();
    partition.process(Input::new(r#"{"put":["a",1]}"#)).unwrap();
    assert_eq!(
        rejection(&mut partition, r#"{"put-then-reject":["a",2]}"#).1,
        "as-told"
    );
    assert_eq!(ask(&mut partition, r#"{"get":"a"}"#), "1");
    assert_eq!(ask(&mut partition, r#"{"get":"b"}"#), "null");
}

#[test]
fn a_store_is_scanned_by_prefix_in_pages() {
    let mut partition = partition();
    for key in ["b/2", "a/1", "b/1", "b/3", "c/1"] {
        partition
            .process(Input::new(format!(r#"{{"put":["{key}",1]}}"#)))
            .unwrap();
    }
    partition
        .process(Input::new(r#"{"delete":"b/2"}"#))
        .unwrap();
    assert_eq!(
        ask(&mut partition, r#"{"scan":["b/",null,9]}"#),
        r#"["b/1","b/3"]"#
    );
    assert_eq!(
        ask(&mut partition, r#"{"scan":["b/",null,1]}"#),
        r#"["b/1"]"#
    );
    assert_eq!(
        ask(&mut partition, r#"{"scan":["b/","b/1",1]}"#),
        r#"["b/3"]"#
    );
    assert_eq!(
        ask(&mut partition, r#"{"scan":["","b/3",9]}"#),
        r#"["c/1"]"#
    );
    assert_eq!(partition.store("memory").len(), 4);
}

#[test]
fn an_entry_of_another_format_is_named_but_not_quoted() {
    let mut partition = partition();
    let text = Input::new(r#"{"put":["a","secret"]}"#);
    partition.process(text).unwrap();
    let why = partition.process(Input::new(r#"{"get":"a"}"#)).unwrap_err();
    let detail = "an entry of the store memory has another format";
    assert_eq!(why, Reject::other("bad-state", detail));
}

fn described() -> Input {
    Input::new(r#""describe""#)
        .header("ce_source", "/forms/student-data")
        .header("ce_id", "id-of-the-record")
        .timestamp_ms(3)
        .attempt(2)
}

#[test]
fn an_event_knows_where_it_comes_from() {
    let mut partition = partition();
    partition.assign("urgent-orders", 4);
    partition.set_batch_time_ms(99);
    let sent = partition.process(described()).unwrap();
    let expected = r#"[["urgent-orders","input",4,0],[3,99,2],"student-data","id-of-the-record"]"#;
    assert_eq!(sent[0].text(), expected);
    assert_eq!(sent[0].key_text(), "described");
    assert_eq!(sent[0].headers, [("lang".to_owned(), b"en".to_vec())]);
    assert_eq!(sent[0].timestamp_ms, 7);

    let chained = partition.process(described().header("formline-origin", "of-the-submission"));
    assert_eq!(chained.unwrap()[0].json()[3], "of-the-submission");
}

#[test]
fn an_event_without_source_or_id_is_rejected() {
    let rejected = |input: Input| match partition().process(input).unwrap_err() {
        Reject::DeadLetter { code, .. } => code,
        other => panic!("{other}"),
    };
    assert_eq!(rejected(Input::new(r#""describe""#)), "no-source");
    for source in [&b"/forms/"[..], b"forms/a", b"", b"/forms/\xff"] {
        assert_eq!(
            rejected(Input::new(r#""describe""#).header("ce_source", source)),
            "no-source"
        );
    }
    let anonymous = Input::new(r#""describe""#).header("ce_source", "/forms/a");
    assert_eq!(rejected(anonymous), "no-id");
}

#[test]
fn ids_differ_within_an_event_but_not_between_its_attempts() {
    let ids = ask(&mut partition(), r#""ids""#);
    assert_eq!(ids, ask(&mut partition(), r#""ids""#));
    let ids: Vec<String> = serde_json::from_str(&ids).unwrap();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn counters_and_log_reach_the_host() {
    let mut partition = partition();
    for _ in 0..2 {
        partition.process(Input::new(r#""count""#)).unwrap();
    }
    assert_eq!(partition.counter("counted"), 4);
    assert_eq!(partition.log()[1], (Level::Warn, "counted".to_owned()));
}

#[test]
fn each_exceeded_limit_and_undeclared_name_has_its_own_code() {
    let mut partition = partition();
    partition.limit(Limits {
        record_bytes: 8,
        records_per_event: 2,
        entries: 1,
    });
    let mut rejected = |order| rejection(&mut partition, order);
    let too_large = |code: &str| (RejectKind::TooLarge, code.to_owned());
    let other = |code: &str| (RejectKind::Other, code.to_owned());
    assert_eq!(
        rejected(r#"{"send":["12345678"]}"#),
        too_large("record-too-large")
    );
    assert_eq!(
        rejected(r#"{"send":["1","2","3"]}"#),
        too_large("output-quota-exceeded")
    );
    assert_eq!(rejected(r#""send-reserved""#), other("reserved-header"));
    assert_eq!(
        rejected(r#""send-unserializable""#),
        other("not-serializable")
    );
    assert_eq!(rejected(r#"{"send-to":"dnoe"}"#), other("unknown-port"));
    assert_eq!(
        rejected(r#"{"put":["12345678",1]}"#),
        too_large("entry-too-large")
    );
    assert_eq!(rejected(r#"{"put-to":"nowhere"}"#), other("unknown-store"));
    partition.process(Input::new(r#"{"put":["a",1]}"#)).unwrap();
    assert_eq!(
        rejection(&mut partition, r#"{"put":["b",1]}"#),
        too_large("state-quota-exceeded")
    );
    partition.process(Input::new(r#"{"put":["a",2]}"#)).unwrap();
}

#[test]
fn the_rejection_of_bad_json_does_not_quote_the_submission() {
    let deep = "[".repeat(100_000);
    for (value, what) in [
        (r#"{"send":"secret"}"#, "an unexpected shape"),
        (r#"{"send": secret}"#, "is not JSON"),
        (r#"{"send":["secret""#, "incomplete JSON"),
        ("", "incomplete JSON"),
        (deep.as_str(), "is not JSON"),
    ] {
        let Err(Reject::DeadLetter { kind, code, detail }) = partition().process(Input::new(value))
        else {
            panic!("{what}");
        };
        assert_eq!(
            (kind, code.as_str()),
            (RejectKind::Malformed, "malformed-json")
        );
        assert!(
            detail.contains(what) && !detail.contains("secret"),
            "{detail}"
        );
    }
}

#[test]
fn a_bad_configuration_does_not_start() {
    let rejected = |config| Partition::<Obedient>::start(config).unwrap_err();
    assert_eq!(
        rejected(r#"{"prefix":""}"#).to_string(),
        "empty-prefix: give the prefix a letter"
    );
    assert_eq!(rejected(r#"{"prefix":"a","sufix":"b"}"#).code, "bad-config");
    assert_eq!(rejected("").code, "bad-config");
}

#[test]
fn the_configuration_schema_rejects_unknown_keys() {
    let schema = Partition::<Obedient>::config_schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::json!({"prefix": "a"})));
    assert!(!validator.is_valid(&serde_json::json!({"prefix": "a", "sufix": "b"})));
    assert!(!validator.is_valid(&serde_json::json!({})));
}
