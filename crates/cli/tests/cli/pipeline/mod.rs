//! The whole pipeline: `formline up`, and its stages as separate processes. Includes the drills,
//! which kill, freeze and replace processes. Drills have a short form; `make drill` sets
//! `FORMLINE_DRILL=full` for the full one.

mod main_job;
mod outcomes_under_failure;
mod plugins;
mod rebalance;
mod restore;
mod swaps;
mod system;
mod top;
