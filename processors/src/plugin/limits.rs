//! What an instance may allocate, and whether it wanted more.

use wasmtime::ResourceLimiter;

/// Bounds of one instance. At the bound an allocation fails inside the plug-in, which as a rule then traps.
#[derive(Debug)]
pub(super) struct Limits {
    memory: usize,
    /// Linear memory in use.
    used: usize,
    refused: bool,
}

/// Entries of a table. Compilers put a program's functions into it: CPython needs 7,709.
const TABLE: usize = 20_000;

/// Core instances, tables and memories that one component may consist of.
const PARTS: usize = 200;

// === impl Limits ===

impl Limits {
    pub(super) fn new(memory: usize) -> Self {
        Self {
            memory,
            used: 0,
            refused: false,
        }
    }

    /// Whether the instance has asked for more than it may have.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limits {
    /// The bound holds for all memories of the component together.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.memory {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.refused |= desired > TABLE;
        Ok(desired <= TABLE)
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}
