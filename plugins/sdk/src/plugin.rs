//! The trait that an author implements, and what the host is told about the plug-in.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Event, Outputs, Reject};

/// One step's code. The host makes one value per partition, and a new one after a crash, a swap or
/// a rebalance: fields are a cache, and what must survive goes into a store.
pub trait Plugin: Package + Sized + 'static {
    /// The `config` of a step. Its JSON Schema is what `formline check` holds the app against.
    /// Put `#[serde(deny_unknown_fields)]` on it; [`NoConfig`] if there is nothing to set.
    type Config: DeserializeOwned + JsonSchema;

    /// Names of the inputs, which a step binds to topics.
    const INPUTS: &'static [&'static str];
    /// Names of the outputs, which a step binds to topics.
    const OUTPUTS: &'static [&'static str] = &[];
    /// The stores that [`Outputs::store`] may open.
    const STORES: &'static [StoreDeclaration] = &[];
    /// The counters that [`Outputs::count`] may add to.
    const COUNTERS: &'static [&'static str] = &[];

    /// Makes the plug-in ready for a partition.
    ///
    /// # Errors
    /// What `config` gets wrong beyond its schema. The step does not start.
    fn new(config: Self::Config) -> Result<Self, InitError>;

    /// Works on one event. `Ok` accepts it, with everything that went to `out`.
    ///
    /// # Errors
    /// A [`Reject`] takes back everything that went to `out` and says what becomes of the event.
    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject>;

    /// Brings an entry that was written with an older
    /// [`schema_version`](StoreDeclaration::schema_version) to the one that
    /// [`STORES`](Self::STORES) declares; `None` deletes it. The host calls it once for each entry
    /// of the store, before the first event. The result may depend on the arguments alone.
    ///
    /// # Errors
    /// What is wrong with the entry. The step waits until a better plug-in comes.
    fn migrate(
        store: &str,
        from_version: u32,
        _key: &[u8],
        _value: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, String> {
        Err(format!(
            "the plug-in cannot read schema version {from_version} of the store {store}"
        ))
    }
}

/// The cargo package that a plug-in comes from. [`register!`](crate::register) implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not registered as this crate's plug-in",
    note = "add the line `formline_plugin_sdk::register!({Self});`"
)]
pub trait Package {
    /// `package.name`.
    const NAME: &'static str;
    /// `package.version`.
    const VERSION: &'static str;
    /// `package.description`.
    const SUMMARY: &'static str;
}

/// A store that the plug-in keeps per partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreDeclaration {
    /// The name that [`Outputs::store`] takes.
    pub name: &'static str,
    /// Raise it when entries change their form, and write [`Plugin::migrate`].
    pub schema_version: u32,
}

/// The configuration of a plug-in that has none: `{}`.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why a plug-in cannot start. The remedy is in the step's `config`, so nothing is retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitError {
    /// A stable word for filters, such as `bad-template`.
    pub code: String,
    /// A sentence for a person.
    pub detail: String,
}

// === impl InitError ===

impl InitError {
    /// Says what is wrong, and in `detail` what would be right.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
        }
    }
}

impl std::fmt::Display for InitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for InitError {}
