//! The contract `plugins/wit/formline.wit` in Rust: what the host implements, and what it may call.

wasmtime::component::bindgen!({
    path: "../plugins/wit",
    world: "processor",
    // Every import may trap: a plug-in that violates the contract is stopped at once.
    imports: { default: trappable },
    with: {
        "formline:plugin/output.port": super::handles::Port,
        "formline:plugin/state.store": super::handles::Store,
    },
});

pub(crate) use exports::formline::plugin::plugin::{Descriptor, StoreDeclaration};
