//! The trait that an author implements, and the declarations that the host reads.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Event, Outputs, Reject};

/// The code of a step.
///
/// The host creates one value for each partition, and a new one after a crash, a swap or a
/// rebalance. So fields are only a cache; what must survive belongs in a [store](crate::Store).
///
/// ```
/// use formline_plugin_sdk::prelude::*;
///
/// /// Sends every submission unchanged.
/// struct Copy;
///
/// impl Plugin for Copy {
///     type Config = NoConfig;
///     const INPUTS: &[&str] = &["submissions"];
///     const OUTPUTS: &[&str] = &["copies"];
///
///     fn new(_: NoConfig) -> Result<Self, InitError> {
///         Ok(Self)
///     }
///
///     fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
///         out.send("copies", Record::new(event.value()))
///     }
/// }
///
/// register!(Copy);
/// ```
pub trait Plugin: Package + Sized + 'static {
    /// The `config` of a step, which `formline check` validates against its JSON Schema. Add
    /// `#[serde(deny_unknown_fields)]` to it, or use [`NoConfig`].
    type Config: DeserializeOwned + JsonSchema;

    /// Names of the inputs, which a step binds to topics. At least one.
    const INPUTS: &'static [&'static str];
    /// Names of the outputs, which a step binds to topics.
    const OUTPUTS: &'static [&'static str] = &[];
    /// The stores that [`Outputs::store`] may open.
    const STORES: &'static [StoreDeclaration] = &[];
    /// The counters that [`Outputs::count`] may increase.
    const COUNTERS: &'static [&'static str] = &[];

    /// Creates the plug-in for a partition.
    ///
    /// # Errors
    /// What is wrong with `config` beyond its schema. The step does not start.
    fn new(config: Self::Config) -> Result<Self, InitError>;

    /// Processes one event. `Ok` accepts it, with everything that was sent and stored through
    /// `out`.
    ///
    /// # Errors
    /// A [`Reject`] rolls back everything that was sent and stored, and decides what happens to the
    /// event.
    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject>;

    /// Migrates an entry that was written with an older
    /// [`schema_version`](StoreDeclaration::schema_version) to the version that
    /// [`STORES`](Self::STORES) declares; `None` deletes the entry. The host calls it once for each
    /// entry of the store, before the next event. The result must depend on the arguments alone.
    ///
    /// # Errors
    /// What is wrong with the entry. The step then waits for another plug-in.
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

/// The cargo package of a plug-in. [`register!`](crate::register) implements it.
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

/// A store, of which each partition has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreDeclaration {
    /// The name that [`Outputs::store`] receives.
    pub name: &'static str,
    /// Increment it when the format of the entries changes, and implement [`Plugin::migrate`].
    pub schema_version: u32,
}

/// The configuration of a plug-in without settings: `{}`.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why a plug-in cannot start. The step's `config` must be changed, so nothing is retried.
///
/// ```
/// # use formline_plugin_sdk::InitError;
/// let error = InitError::new("bad-window", "count_window_seconds must be a multiple of 60");
/// assert_eq!(error.to_string(), "bad-window: count_window_seconds must be a multiple of 60");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitError {
    /// A stable word for filters, such as `bad-template`.
    pub code: String,
    /// A sentence for operators.
    pub detail: String,
}

// === impl InitError ===

impl InitError {
    /// Creates an error. `detail` should say what is wrong and what would be right.
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
