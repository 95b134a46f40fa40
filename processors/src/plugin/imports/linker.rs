//! Everything that a plug-in may import.

use wasmtime::component::{HasSelf, Linker};

use crate::plugin::{
    bindings::{Processor, formline::plugin::types},
    host_state::HostState,
    wasi_link,
};

/// Links the contract and the permitted part of WASI.
pub(in crate::plugin) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    Processor::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut HostState| host)?;
    wasi_link::link(&mut linker)?;
    Ok(linker)
}

impl types::Host for HostState {}
