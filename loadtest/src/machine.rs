//! The machine that the figures come from.

use std::fs;

use serde::Serialize;

/// What a reader must know to judge the figures.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: model(&read("/proc/cpuinfo")).to_owned(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

/// x86 names its model, ARM does not.
fn model(cpuinfo: &str) -> &str {
    let named = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    named.map_or("unnamed processor", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_named_where_the_kernel_names_it() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Fast (R) 2\nflags\t: x"),
            "Fast (R) 2"
        );
        assert_eq!(model("processor\t: 0\nFeatures\t: fp"), "unnamed processor");
    }
}
