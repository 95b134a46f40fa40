//! What authors of plug-ins need without a running process: inspecting a file, running its test
//! cases, and measuring it.

mod bench;
mod inspect;
mod test_case;

pub use self::{
    bench::{Bench, Measurement},
    inspect::{Candidate, Inspector, PluginInfo},
    test_case::TestCase,
};
