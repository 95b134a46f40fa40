//! Stage 3: topics to the outside world. Each sink is a consumer group of its own, and acknowledges after its effect.

mod attempt;
mod books;
pub mod email;
mod error;
mod journal;
mod lanes;
mod metrics;
mod outbox;
pub mod outcomes;
mod parking;
pub mod postgres;
mod redis;
mod rejoin;
mod run;
pub mod sheets;
pub mod webhook;

pub use self::{
    error::Error,
    run::{Flushed, Options, Placed, flush, run},
};
