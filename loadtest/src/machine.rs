//! The machine on which the bench runs.

use std::fs;

use serde::Serialize;

/// The facts about the machine that affect the figures.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The number of cores that this process may use.
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
}

// === impl Machine ===

impl Machine {
    /// Reads the facts about this machine.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: model(&read("/proc/cpuinfo")).to_owned(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

/// The model of the processor, which is known on x86 but not on ARM.
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
    fn the_model_is_taken_from_cpuinfo_if_it_is_there() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Fast (R) 2\nflags\t: x"),
            "Fast (R) 2"
        );
        assert_eq!(model("processor\t: 0\nFeatures\t: fp"), "unnamed processor");
    }
}
