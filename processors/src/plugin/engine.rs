//! The wasmtime engine that all plug-ins of the process share, and the ticks that interrupt them.

use std::{path::Path, sync::Arc, time::Duration};

use wasmtime::{Config, EngineWeak, WasmBacktraceDetails, component::Component};

use super::{cache::Cache, host_state::HostState, imports};
use crate::error::Error;

/// Compiles plug-ins and provides their imports. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(super) wasm: wasmtime::Engine,
    pub(super) linker: Arc<wasmtime::component::Linker<HostState>>,
    cache: Arc<Cache>,
}

/// The interval at which a running plug-in checks its time limit.
const TICK: Duration = Duration::from_millis(10);

/// Bytes of a plug-in's stack. Deeper recursion traps.
pub(crate) const STACK: usize = 512 << 10;

// === impl Engine ===

impl Engine {
    /// Creates the engine. `cache` is a folder for compiled code, which must belong to this
    /// process's user alone.
    ///
    /// Instances are allocated on demand, not from a pool. An instance lives as long as its
    /// partition stays with this process, so creating one (tens of microseconds) is rare, and a
    /// pool would reserve its address space for the largest plug-in.
    pub(crate) fn new(cache: &Path) -> Result<Self, Error> {
        let wasm = wasmtime::Engine::new(&config()).map_err(Error::engine)?;
        let linker = Arc::new(imports::linker(&wasm).map_err(Error::engine)?);
        let cache = Arc::new(Cache::open(cache, &wasm)?);
        tick(wasm.weak())?;
        Ok(Self {
            wasm,
            linker,
            cache,
        })
    }

    /// Compiles a component, or loads it from the cache. Compiling a large one takes seconds.
    pub(super) fn compile(&self, wasm: &[u8], digest: &str) -> wasmtime::Result<Component> {
        match self.cache.load(&self.wasm, digest) {
            Some(component) => Ok(component),
            None => self.cache.store(&self.wasm, digest, wasm),
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        // Epochs enforce time limits at the cost of a load and a comparison per loop; fuel costs up
        // to three times the run time.
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        // Plain calls without the bookkeeping of concurrent tasks: the contract has no async
        // functions.
        .concurrency_support(false)
        // The same input yields the same output bits on every machine, so a replay repeats what was
        // published.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .memory_init_cow(true)
        // Function names suffice for a dead letter, and need no debug information in the file.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

/// Advances the epoch until the engine is dropped.
fn tick(engine: EngineWeak) -> Result<(), Error> {
    let run = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::park_timeout(TICK);
        }
    };
    let spawned = std::thread::Builder::new()
        .name("plugin-clock".to_owned())
        .spawn(run);
    spawned.map(drop).map_err(|source| Error::Thread { source })
}
