//! `formline dlq`: lists, shows, replays and discards dead letters. Each command first reads the
//! whole dead-letter topics of the selected steps and sinks.

mod format;
mod list;
mod report;
mod resolve;
mod selection;
mod show;

use anyhow::Result;
use formline_core::dead_letter::index::Resolution;

use crate::{arguments::DlqCommand, terminal};

pub(super) fn run(command: &DlqCommand) -> Result<()> {
    terminal::unless_closed(match command {
        DlqCommand::List(arguments) => list::run(arguments),
        DlqCommand::Show(arguments) => show::run(arguments),
        DlqCommand::Replay(arguments) => resolve::run(arguments, Resolution::Replayed),
        DlqCommand::Discard(arguments) => resolve::run(arguments, Resolution::Discarded),
    })
}
