//! Sends load to one side, and measures the CPU time of its processes.

use anyhow::Result;
use tokio::task::spawn_blocking;

use super::environment::Environment;
use crate::{
    child::Child,
    cpu::{self, Used},
    generator::{self, Plan, Results, Target},
};

/// Sends the load of a plan, and measures the CPU time of the children, the generator and Kafka in
/// the measured period.
pub(super) async fn send<T: Target + 'static>(
    environment: &Environment,
    children: &mut [Child],
    plan: &Plan,
    targets: usize,
    open: impl AsyncFn() -> Result<T> + Send + 'static,
) -> Result<(Results, Used)> {
    let planned = plan.clone();
    let sending = async { spawn_blocking(move || generator::run(targets, open, &planned)).await? };
    let watched = environment.watched(&*children);
    let sent = tokio::try_join!(sending, cpu::during(&plan.measured, &watched));
    if sent.is_err() {
        // If a child has ended, its log explains the failure better than a closed connection.
        children.iter_mut().try_for_each(Child::check_alive)?;
    }
    sent
}
