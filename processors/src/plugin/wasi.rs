//! The part of WASI that plug-ins receive because the standard libraries of their languages need
//! it: frozen clocks, seeded random numbers, and standard output as log lines. There are no files,
//! no network, no environment, no arguments, and nothing that blocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, random::WasiRandomCtx,
};

use super::console::Console;

/// One instance's part of WASI.
pub(super) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    clock: Clock,
}

/// A clock that is frozen during a batch, in milliseconds since 1970.
#[derive(Clone, Debug, Default)]
struct Clock(Arc<AtomicU64>);

/// Streams and other resources that one instance may hold.
const RESOURCES: usize = 1000;

/// Bytes that one call of the random source may return.
const RANDOM: u64 = 64 << 10;

// === impl Wasi ===

impl Wasi {
    /// `seed` determines the random numbers: a replay on the same partition repeats them.
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

    /// The context and its resources, as wasmtime's implementation of WASI needs them.
    pub(super) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }

    /// The source of random numbers.
    pub(super) fn random(&mut self) -> &mut WasiRandomCtx {
        self.context.random()
    }

    /// Streams and pollables that the plug-in holds.
    pub(super) fn resources(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    pub(super) fn set_clock(&self, now_ms: i64) {
        self.clock.0.store(now_ms.unsigned_abs(), Ordering::Relaxed);
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
