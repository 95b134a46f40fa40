//! Write Formline plug-ins in Rust: implement [`Plugin`], and [`register!`] the type.
//!
//! The SDK implements the rest of the contract (`wit/formline.wit`): the loop over the batch, the
//! handles of ports and stores, and the description that the host requests. The module [`testing`]
//! runs a plug-in natively in unit tests.
//!
//! - [`Event`] is the submission to process, and [`Object`] its fields.
//! - [`Outputs`] receives each [`Record`], and opens a [`Store`].
//! - [`Reject`] says why an event is not accepted.

mod batch;
#[doc(hidden)]
pub mod bindings;
mod event;
mod guest;
mod host;
mod object;
mod outputs;
mod plugin;
pub mod prelude;
#[cfg(doctest)]
mod readme;
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
