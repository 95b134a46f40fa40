//! The imports of the contract, as a plug-in calls them: one file for each interface.

mod input;
mod linker;
mod output;
mod runtime;
mod state;

pub(super) use self::linker::linker;
