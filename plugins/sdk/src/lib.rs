//! Write Formline plug-ins in Rust: implement [`Plugin`], and [`register!`] the type.
//!
//! The SDK implements the rest of the contract (`wit/formline.wit`): the loop over the batch, the
//! handles of ports and stores, and the description that the host requests. The module [`testing`]
//! runs a plug-in natively in unit tests.
//!
//! - [`Event`] is the submission to process, and [`Object`] its fields.
//! - [`Outputs`] receives each [`Record`], and opens a [`Store`].
//! - [`Reject`] says why an event is not accepted.

mod event;
mod guest;
mod host;
mod object;
mod outputs;
mod plugin;
mod reject;
mod store;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use event::Event;
pub use object::Object;
pub use outputs::{Outputs, Record};
pub use plugin::{InitError, NoConfig, Package, Plugin, StoreDeclaration};
pub use reject::Reject;
pub use store::Store;

pub use bindings::formline::plugin::runtime::Level;
pub use bindings::formline::plugin::types::RejectKind;

/// Used by the expansion of [`register!`]; not for direct use.
#[doc(hidden)]
pub use guest::Component;

/// The items that nearly every plug-in needs.
pub mod prelude {
    pub use crate::{
        Event, InitError, Level, NoConfig, Object, Outputs, Plugin, Record, Reject, RejectKind,
        StoreDeclaration, register,
    };
    pub use schemars::{self, JsonSchema};
    pub use serde::{Deserialize, Serialize};
}

/// The contract, as wit-bindgen generates it.
#[doc(hidden)]
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unsafe_code,
    clippy::all
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "processor",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "formline_plugin_sdk::bindings",
    });
}

/// Compiles the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
