//! Links the permitted interfaces of WASI into the linker.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::{
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{WasiFilesystem, WasiFilesystemView as _},
    p2::{
        DynPollable,
        bindings::{self, sync},
    },
    random::WasiRandom,
};

use super::{failure::Misuse, host_state::HostState};

/// Links each permitted interface. A plug-in that imports anything else (sockets, HTTP) is rejected
/// when it is loaded, with the name of the missing interface.
pub(super) fn link(l: &mut Linker<HostState>) -> wasmtime::Result<()> {
    use bindings::{cli, clocks, filesystem, random};
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, HostState::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, HostState::clocks)?;
    random::random::add_to_linker::<_, WasiRandom>(l, |host| host.wasi.random())?;
    random::insecure::add_to_linker::<_, WasiRandom>(l, |host| host.wasi.random())?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(l, |host| host.wasi.random())?;
    cli::exit::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, HostState::cli)?;
    // Standard libraries import the file system; without a preopened folder it is empty.
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, HostState::filesystem)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(l, HostState::filesystem)?;
    sync::io::error::add_to_linker::<_, Streams>(l, |host| host.wasi.resources())?;
    sync::io::streams::add_to_linker::<_, Streams>(l, |host| host.wasi.resources())?;
    sync::io::poll::add_to_linker::<_, Poll>(l, |host| NonBlockingPoll(host.wasi.resources()))
}

struct Streams;

impl HasData for Streams {
    type Data<'a> = &'a mut ResourceTable;
}

struct Poll;

impl HasData for Poll {
    type Data<'a> = NonBlockingPoll<'a>;
}

/// Polling that never blocks. Epochs do not interrupt a plug-in that sleeps inside the host, so a
/// plug-in must not sleep.
struct NonBlockingPoll<'a>(&'a mut ResourceTable);

impl sync::io::poll::Host for NonBlockingPoll<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        use sync::io::poll::HostPollable as _;
        let mut ready = Vec::new();
        for (index, pollable) in (0..).zip(pollables) {
            if self.ready(pollable)? {
                ready.push(index);
            }
        }
        if ready.is_empty() {
            Err(CANNOT_BLOCK.into())
        } else {
            Ok(ready)
        }
    }
}

impl sync::io::poll::HostPollable for NonBlockingPoll<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        sync::io::poll::HostPollable::ready(self.0, pollable)
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        if self.ready(pollable)? {
            Ok(())
        } else {
            Err(CANNOT_BLOCK.into())
        }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        sync::io::poll::HostPollable::drop(self.0, pollable)
    }
}

const CANNOT_BLOCK: Misuse =
    Misuse("a plug-in cannot sleep or block; use `retry-later` to receive the event again");
