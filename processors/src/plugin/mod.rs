//! Plug-ins as WebAssembly components: compiling, describing and running them. The only module that
//! uses wasmtime.

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::str_to_string
)]
mod bindings;
mod cache;
mod component;
mod console;
mod engine;
mod failure;
mod guest;
mod handles;
mod host_state;
mod imports;
mod instance;
mod limits;
mod wasi;
mod wasi_link;

pub(crate) use self::{
    bindings::StoreDeclaration,
    component::{Plugin, SIZE_LIMIT},
    engine::{Engine, STACK},
    failure::{DEADLINE, Failure},
    instance::{Assignment, Instance},
};
