//! The contract, as wit-bindgen generates it.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unsafe_code,
    clippy::all
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "processor",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "formline_plugin_sdk::bindings",
});
