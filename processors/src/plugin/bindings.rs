//! The contract `plugins/wit/formline.wit` as Rust: what the host implements and what it may call.

wasmtime::component::bindgen!({
    path: "../plugins/wit",
    world: "processor",
    // Every import may trap: a plug-in that breaks the contract is stopped at once, not answered.
    imports: { default: trappable },
    with: {
        "formline:plugin/output.port": super::host::Port,
        "formline:plugin/state.store": super::host::Store,
    },
});

pub(crate) use exports::formline::plugin::plugin::{Descriptor, StoreDeclaration};
