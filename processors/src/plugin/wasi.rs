//! The little of WASI that plug-ins get because their languages' libraries want it: frozen clocks, seeded randomness,
//! standard output as log lines. No files, network, environment or arguments; and nothing that waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{WasiFilesystem, WasiFilesystemView as _},
    p2::{
        DynPollable,
        bindings::{self, sync},
    },
    random::WasiRandom,
};

use super::{console::Console, failure::Misuse, host::Host};

/// One instance's part of WASI.
pub(super) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    clock: Clock,
}

/// A clock that stands still during a batch, in milliseconds since 1970.
#[derive(Clone, Debug, Default)]
struct Clock(Arc<AtomicU64>);

/// Streams and the like that one instance may hold.
const RESOURCES: usize = 1000;

/// Bytes of one answer of the random source.
const RANDOM: u64 = 64 << 10;

// === impl Wasi ===

impl Wasi {
    /// `seed` decides what the plug-in takes for random: a replay on the same partition repeats it.
    pub(super) fn new(seed: &str, console: &Console) -> Self {
        let (clock, bytes) = (Clock::default(), Sha256::digest(seed));
        let random = || Deterministic::new(bytes.to_vec());
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[..16]);
        let context = WasiCtx::builder()
            .stdout(console.clone())
            .stderr(console.clone())
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .secure_random(random())
            .insecure_random(random())
            .insecure_random_seed(u128::from_be_bytes(half))
            .max_random_size(RANDOM)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        Self {
            context,
            table,
            clock,
        }
    }

    pub(super) fn set_clock(&self, now_ms: i64) {
        self.clock.0.store(now_ms.unsigned_abs(), Ordering::Relaxed);
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi.context,
            table: &mut self.wasi.table,
        }
    }
}

// === impl Clock ===

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 1_000_000
    }
}

// === Linking ===

/// Links what is granted, interface by interface. A plug-in that imports anything else (sockets, HTTP) is refused when
/// it is loaded, with the name of what it wants.
pub(super) fn link(l: &mut Linker<Host>) -> wasmtime::Result<()> {
    use bindings::{cli, clocks, filesystem, random};
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, Host::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, Host::clocks)?;
    random::random::add_to_linker::<_, WasiRandom>(l, |host| host.wasi.context.random())?;
    random::insecure::add_to_linker::<_, WasiRandom>(l, |host| host.wasi.context.random())?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(l, |host| host.wasi.context.random())?;
    cli::exit::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    // Standard libraries import the file system; without a preopened folder there is nothing in it.
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, Host::filesystem)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(l, Host::filesystem)?;
    sync::io::error::add_to_linker::<_, Streams>(l, |host| &mut host.wasi.table)?;
    sync::io::streams::add_to_linker::<_, Streams>(l, |host| &mut host.wasi.table)?;
    sync::io::poll::add_to_linker::<_, Waiting>(l, |host| NoWaiting(&mut host.wasi.table))
}

struct Streams;

impl HasData for Streams {
    type Data<'a> = &'a mut ResourceTable;
}

struct Waiting;

impl HasData for Waiting {
    type Data<'a> = NoWaiting<'a>;
}

/// Polling without waiting: epochs do not interrupt a plug-in that sleeps inside the host, so none may sleep.
struct NoWaiting<'a>(&'a mut ResourceTable);

impl sync::io::poll::Host for NoWaiting<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        use sync::io::poll::HostPollable as _;
        let mut ready = Vec::new();
        for (index, pollable) in (0..).zip(pollables) {
            if self.ready(pollable)? {
                ready.push(index);
            }
        }
        if ready.is_empty() {
            Err(CANNOT_WAIT.into())
        } else {
            Ok(ready)
        }
    }
}

impl sync::io::poll::HostPollable for NoWaiting<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        sync::io::poll::HostPollable::ready(self.0, pollable)
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        if self.ready(pollable)? {
            Ok(())
        } else {
            Err(CANNOT_WAIT.into())
        }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        sync::io::poll::HostPollable::drop(self.0, pollable)
    }
}

const CANNOT_WAIT: Misuse =
    Misuse("a plug-in cannot sleep or wait; let the event come again with retry-later");
