//! The plug-in as a component: the exports of the contract, implemented for any [`Plugin`].

use std::cell::RefCell;
use std::marker::PhantomData;

use serde_json::Value;

use crate::batch::process_batch;
use crate::bindings::exports::formline::plugin::plugin as exports;
use crate::bindings::formline::plugin::{
    input,
    output::{OutRecord, Port, SendError},
    runtime,
    state::{self, StateError},
    types,
};
use crate::host::{Entry, Host};
use crate::{InitError, Level, Plugin, Reject};

/// Registers a type as this crate's plug-in: names it after the package, and exports it from the
/// component.
///
/// ```compile_fail,E0277
/// use formline_plugin_sdk::prelude::*;
///
/// struct Forgotten;
///
/// // error: `Forgotten` is not registered as this crate's plug-in
/// impl Plugin for Forgotten {
///     type Config = NoConfig;
///     const INPUTS: &[&str] = &["submissions"];
///     fn new(_: NoConfig) -> Result<Self, InitError> { Ok(Self) }
///     fn process(&mut self, _: &Event, _: &mut Outputs) -> Result<(), Reject> { Ok(()) }
/// }
/// ```
#[macro_export]
macro_rules! register {
    ($plugin:ty) => {
        impl $crate::Package for $plugin {
            const NAME: &'static str = env!("CARGO_PKG_NAME");
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
            const SUMMARY: &'static str = env!("CARGO_PKG_DESCRIPTION");
        }

        const _: () = assert!(
            !<$plugin as $crate::Plugin>::INPUTS.is_empty(),
            "a plug-in needs at least one input"
        );

        // In native tests there is no host to which it could be exported.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, unreachable_pub, missing_docs)]
        const _: () = {
            type Component = $crate::Component<$plugin>;
    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}

/// The exports of the component with the plug-in `P`.
#[derive(Debug)]
pub struct Component<P>(PhantomData<P>);

/// A plug-in from `init` until its instance is dropped.
struct Instance<P> {
    plugin: P,
    host: ComponentHost,
}

/// The Formline host, with the handles that `init` has opened. They are few, so searching a list by
/// name is faster than a map.
struct ComponentHost {
    ports: Vec<(&'static str, Port)>,
    stores: Vec<(&'static str, state::Store)>,
}

/// Object-safe, so that one static variable can hold every `P`.
trait ProcessBatch {
    fn process(&mut self);
}

thread_local! {
    static RUNNING: RefCell<Option<Box<dyn ProcessBatch>>> = const { RefCell::new(None) };
}

// === impl Component ===

impl<P: Plugin> exports::Guest for Component<P> {
    fn describe() -> exports::Descriptor {
        describe::<P>()
    }

    fn init(config: String) -> Result<(), exports::InitError> {
        let instance = Instance::<P>::start(&config).map_err(|error| exports::InitError {
            code: error.code,
            detail: error.detail,
        })?;
        RUNNING.set(Some(Box::new(instance)));
        Ok(())
    }

    fn process() -> Result<(), String> {
        RUNNING.with_borrow_mut(|running| {
            let instance = running.as_mut().ok_or("`init` has not succeeded")?;
            instance.process();
            Ok(())
        })
    }

    fn migrate(
        store: String,
        from_version: u32,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, String> {
        P::migrate(&store, from_version, &key, value)
    }
}

pub(crate) fn describe<P: Plugin>() -> exports::Descriptor {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    exports::Descriptor {
        name: P::NAME.to_owned(),
        version: P::VERSION.to_owned(),
        summary: P::SUMMARY.to_owned(),
        inputs: names(P::INPUTS),
        outputs: names(P::OUTPUTS),
        stores: P::STORES
            .iter()
            .map(|store| exports::StoreDeclaration {
                name: store.name.to_owned(),
                schema_version: store.schema_version,
            })
            .collect(),
        config_schema: config_schema::<P>().to_string(),
        counters: names(P::COUNTERS),
    }
}

/// The schema that schemars derives, in draft 2020-12.
fn config_schema<P: Plugin>() -> Value {
    schemars::schema_for!(P::Config).to_value()
}

pub(crate) fn configure<P: Plugin>(config: &str) -> Result<P, InitError> {
    let config = serde_json::from_str(config)
        .map_err(|error| InitError::new("bad-config", error.to_string()))?;
    P::new(config)
}

// === impl Instance ===

impl<P: Plugin> Instance<P> {
    fn start(config: &str) -> Result<Self, InitError> {
        Ok(Self {
            plugin: configure(config)?,
            host: ComponentHost::open::<P>()?,
        })
    }
}

impl<P: Plugin> ProcessBatch for Instance<P> {
    fn process(&mut self) {
        process_batch(&mut self.plugin, &self.host);
    }
}

// === impl ComponentHost ===

impl ComponentHost {
    fn open<P: Plugin>() -> Result<Self, InitError> {
        let open_port = |&name: &&'static str| {
            let port = Port::open(name).map_err(|_| {
                InitError::new(
                    "unknown-port",
                    format!("the host does not know the output {name}"),
                )
            })?;
            Ok((name, port))
        };
        let open_store = |declared: &crate::StoreDeclaration| {
            let name = declared.name;
            let store = state::Store::open(name).map_err(|_| {
                InitError::new(
                    "unknown-store",
                    format!("the host does not know the store {name}"),
                )
            })?;
            Ok((name, store))
        };
        Ok(Self {
            ports: P::OUTPUTS.iter().map(open_port).collect::<Result<_, _>>()?,
            stores: P::STORES.iter().map(open_store).collect::<Result<_, _>>()?,
        })
    }

    fn store(&self, name: &str) -> Option<&state::Store> {
        find(&self.stores, name)
    }
}

fn find<'a, T>(handles: &'a [(&'static str, T)], name: &str) -> Option<&'a T> {
    let found = handles.iter().find(|(own, _)| *own == name);
    found.map(|(_, handle)| handle)
}

impl Host for ComponentHost {
    fn info(&self) -> input::BatchInfo {
        input::info()
    }

    fn next(&self) -> Option<types::Event> {
        input::next()
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        input::header(name)
    }

    fn reject(&self, why: Reject) {
        match why {
            Reject::DeadLetter { kind, code, detail } => {
                input::reject(&types::Rejection { kind, code, detail });
            }
            Reject::Skip { reason } => input::skip(&reason),
            Reject::RetryLater { after, reason } => {
                let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
                input::retry_later(after_ms, &reason);
            }
        }
    }

    fn send(&self, port: &str, record: &OutRecord) -> Option<Result<(), SendError>> {
        find(&self.ports, port).map(|port| port.send(record))
    }

    fn get(&self, store: &str, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.store(store).map(|store| store.get(key))
    }

    fn put(&self, store: &str, key: &[u8], value: &[u8]) -> Option<Result<(), StateError>> {
        self.store(store).map(|store| store.put(key, value))
    }

    fn put_for(
        &self,
        store: &str,
        key: &[u8],
        value: &[u8],
        ttl_ms: u64,
    ) -> Option<Result<(), StateError>> {
        self.store(store)
            .map(|store| store.put_for(key, value, ttl_ms))
    }

    fn delete(&self, store: &str, key: &[u8]) -> Option<()> {
        self.store(store).map(|store| store.delete(key))
    }

    fn scan(
        &self,
        store: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Option<Vec<Entry>> {
        let entries = self.store(store)?.scan(prefix, after, limit);
        Some(
            entries
                .into_iter()
                .map(|entry| (entry.key, entry.value))
                .collect(),
        )
    }

    fn log(&self, level: Level, message: &str) {
        runtime::log(level, message);
    }

    fn batch_time_ms(&self) -> i64 {
        runtime::batch_time_ms()
    }

    fn derive_id(&self) -> String {
        runtime::derive_id()
    }

    fn counter_add(&self, name: &str, delta: u64) {
        runtime::counter_add(name, delta);
    }
}

#[cfg(test)]
mod tests {
    use crate as formline_plugin_sdk;
    use formline_plugin_sdk::prelude::*;

    struct Nothing;

    impl Plugin for Nothing {
        type Config = NoConfig;
        const INPUTS: &[&str] = &["in"];
        const OUTPUTS: &[&str] = &["a", "b"];
        const STORES: &[StoreDeclaration] = &[StoreDeclaration {
            name: "s",
            schema_version: 3,
        }];
        const COUNTERS: &[&str] = &["c"];

        fn new(_: NoConfig) -> Result<Self, InitError> {
            Ok(Self)
        }

        fn process(&mut self, _: &Event, _: &mut Outputs) -> Result<(), Reject> {
            Ok(())
        }
    }

    register!(Nothing);

    #[test]
    fn the_description_contains_the_package_and_the_declarations() {
        let descriptor = super::describe::<Nothing>();
        assert_eq!(descriptor.name, "formline-plugin-sdk");
        assert_eq!(descriptor.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(descriptor.summary, "Write Formline plug-ins in Rust.");
        assert_eq!(descriptor.inputs, ["in"]);
        assert_eq!(descriptor.outputs, ["a", "b"]);
        assert_eq!(descriptor.stores[0].name, "s");
        assert_eq!(descriptor.stores[0].schema_version, 3);
        assert_eq!(descriptor.counters, ["c"]);
        assert!(
            descriptor
                .config_schema
                .contains(r#""additionalProperties":false"#)
        );
    }

    #[test]
    fn a_plugin_without_a_migration_returns_an_error() {
        use super::exports::Guest;
        let migrated =
            super::Component::<Nothing>::migrate("s".into(), 2, b"key".into(), b"".into());
        let error = migrated.unwrap_err();
        assert_eq!(
            error,
            "the plug-in cannot read schema version 2 of the store s"
        );
    }

    #[test]
    fn process_before_init_returns_an_error() {
        use super::exports::Guest;
        let error = super::Component::<Nothing>::process().unwrap_err();
        assert_eq!(error, "`init` has not succeeded");
    }
}
