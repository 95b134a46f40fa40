//! Stage 3: topics to the outside world. Each sink is a consumer group of its own, and acknowledges
//! after its effect.

pub mod audit;
mod email;
mod engine;
mod error;
mod kinds;
mod per_record;
mod postgres;
mod redis;
mod run;
mod sheets;
mod webhook;

pub use self::{
    engine::{
        context::Flushed,
        options::{EmulatorTiming, Google, Options},
    },
    error::Error,
    kinds::{check, register_metrics},
    run::{Placed, flush, run},
};
