//! A plug-in for the tests of the host: the value of an event decides which rule it violates.

use std::{collections::HashMap, hash::BuildHasher as _, hint::black_box, time::Duration};

use formline_plugin_sdk::{bindings::formline::plugin::output::Port, prelude::*};

struct Misbehave;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Makes the start fail.
    #[serde(default)]
    broken: bool,
}

impl Plugin for Misbehave {
    type Config = Config;
    const INPUTS: &[&str] = &["in"];
    const OUTPUTS: &[&str] = &["out"];
    const STORES: &[StoreDeclaration] = &[StoreDeclaration { name: "seen", schema_version: 1 }];
    const COUNTERS: &[&str] = &["worked"];

    fn new(config: Config) -> Result<Self, InitError> {
        if config.broken {
            return Err(InitError::new("broken", "the configuration says so"));
        }
        Ok(Self)
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        let value = String::from_utf8_lossy(event.value()).into_owned();
        // A failure below must roll these effects back.
        out.count("worked", 1);
        out.store("seen").put(&value, b"seen")?;
        out.send("out", Record::new(value.as_bytes()))?;
        let first = event.attempt() == 0;
        match value.split(' ').next().unwrap_or_default() {
            "panic" => panic!("the event says so"),
            "panic-once" if first => panic!("the event says so"),
            "loop" => loop {
                black_box(());
            },
            "slow-once" if first => loop {
                black_box(());
            },
            "memory" => drop(black_box(eat_memory())),
            "recursion" => drop(black_box(recurse(1))),
            "exit" => std::process::exit(3),
            "sleep" => std::thread::sleep(Duration::from_secs(3600)),
            "host-calls" => loop {
                black_box(event.derive_id());
            },
            "log" => (0..100_000).for_each(|_| out.log(Level::Info, "line")),
            "print" => (0..1000).for_each(|_| println!("line")),
            "outputs" => loop {
                out.send("out", Record::new("flood"))?;
            },
            "output" => out.send("out", Record::new(vec![b'x'; 2_000_000]))?,
            "big" => out.send("out", Record::new(vec![b'x'; 50_000]))?,
            "future" => out.send("out", Record::new("late").timestamp_ms(i64::MAX / 2))?,
            // Kafka would accept it, but the host must not.
            "past" => out.send("out", Record::new("early").timestamp_ms(-5))?,
            "store" => (0..).try_for_each(|n: u32| {
                out.store("seen").put(n.to_be_bytes(), &vec![b'x'; 900_000])
            })?,
            "header" => out.send("out", Record::new("forged").header("ce_id", "forged"))?,
            "reject" => return Err(Reject::malformed("not-good", "the event says so")),
            "skip" => return Err(Reject::skip("the event says so")),
            "ask-on" => loop {
                drop(black_box(formline_plugin_sdk::bindings::formline::plugin::input::next()));
            },
            "later" if first => {
                return Err(Reject::retry_later(Duration::from_millis(300), "not yet"));
            }
            "text-logged" => out.log(Level::Info, &not_text()),
            "text-counted" => out.count(&not_text(), 1),
            "text-opened" => drop(black_box(Port::open(&not_text()))),
            "text-header" => out.send("out", Record::new("bad").header(not_text(), "bad"))?,
            "text-code" => return Err(Reject::malformed(not_text(), "the code is not text")),
            "text-detail" => return Err(Reject::malformed("not-text", not_text())),
            "look" => out.send("out", Record::json(&look_around(event))?)?,
            _ => {}
        }
        Ok(())
    }
}

/// Invalid UTF-8 in a string, as a language without checks may produce it.
fn not_text() -> String {
    // SAFETY: none. Violating the rule is the purpose; only the host reads the string.
    black_box(unsafe { String::from_utf8_unchecked(b"\xff\xfe not text".to_vec()) })
}

fn eat_memory() -> Vec<Vec<u8>> {
    (0..).map(|n: u8| vec![n; 1 << 20]).take(4096).collect()
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    black_box(depth) + recurse(black_box(depth + 1))
}

/// What a plug-in can find out about its environment.
fn look_around(event: &Event) -> HashMap<&'static str, String> {
    let random = std::collections::hash_map::RandomState::new().hash_one(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let clock = now.map(|now| now.as_millis().to_string());
    HashMap::from([
        ("environment", std::env::vars().count().to_string()),
        ("arguments", std::env::args().count().to_string()),
        ("file", format!("{:?}", std::fs::read("/etc/hostname").is_ok())),
        ("folder", format!("{:?}", std::fs::read_dir("/").is_ok())),
        ("clock-is-frozen", (clock.ok() == Some(event.batch_time_ms().to_string())).to_string()),
        ("random", random.to_string()),
    ])
}

register!(Misbehave);
