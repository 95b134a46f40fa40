//! What an instance may allocate.

use wasmtime::ResourceLimiter;

/// Bounds of one instance. An allocation beyond them fails inside the plug-in, which usually traps.
#[derive(Debug)]
pub(super) struct ResourceLimits {
    /// Bytes of all linear memories of the component together.
    memory: usize,
    used: usize,
    exceeded: bool,
}

/// Entries of a table. Compilers put a program's functions into it: CPython needs 7,709.
const TABLE_ENTRIES: usize = 20_000;

/// Core instances, tables and memories of one component, each.
const PARTS: usize = 200;

// === impl ResourceLimits ===

impl ResourceLimits {
    /// `memory` is in bytes.
    pub(super) fn new(memory: usize) -> Self {
        Self {
            memory,
            used: 0,
            exceeded: false,
        }
    }

    /// Whether the instance has requested more than it may allocate.
    pub(super) fn was_exceeded(&self) -> bool {
        self.exceeded
    }
}

impl ResourceLimiter for ResourceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.memory {
            self.exceeded = true;
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
        self.exceeded |= desired > TABLE_ENTRIES;
        Ok(desired <= TABLE_ENTRIES)
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
