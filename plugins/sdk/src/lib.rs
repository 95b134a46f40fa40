//! Write Formline plug-ins in Rust: implement [`Plugin`] and [`register!`] it.
//!
//! The host's side of the contract (`wit/formline.wit`) stays out of sight: the loop over the batch,
//! the handles of ports and stores, and the description that the host asks for.

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

/// What [`register!`] expands to; not for direct use.
#[doc(hidden)]
pub use guest::Component;

/// What nearly every plug-in needs.
pub mod prelude {
    pub use crate::{
        Event, InitError, Level, NoConfig, Object, Outputs, Plugin, Record, Reject, RejectKind,
        StoreDeclaration, register,
    };
    pub use schemars::{self, JsonSchema};
    pub use serde::{Deserialize, Serialize};
}

/// The contract, as wit-bindgen puts it into Rust.
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

/// The guide is compiled, so its example cannot rot.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
