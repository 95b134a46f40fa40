//! `formline sheets-emulator`: runs the server that replaces Google Sheets.

use std::path::Path;

use anyhow::Result;
use formline_core::Shutdown;
use formline_sheets_emulator::{Emulator, Options, Quota};
use tokio::net::TcpListener;

use crate::{
    arguments::SheetsEmulatorArgs,
    process::{self, Process, listen},
};

pub(super) fn run(arguments: &SheetsEmulatorArgs) -> Result<()> {
    process::block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let address = arguments.sheets.listen_on();
        let listener = listen(address, "--sheets").await?;
        let emulator = open(&arguments.data.data, arguments.quota.then(Quota::default))?;
        println!(
            "sheets emulator on http://{address}/, data in {}",
            arguments.data.data.display()
        );
        Ok(emulator.serve(listener, shutdown.token()).await?)
    })
}

/// Adds the emulator to a process. It has no quota, so that a user who views the sheets does not
/// slow down the sink. During a shutdown it serves the sinks until they have finished, within the
/// same grace period.
pub(super) fn spawn(process: &Process, listener: TcpListener, data: &Path) -> Result<()> {
    let emulator = open(data, None)?;
    let serving = emulator.serve(listener, process.shutdown.token());
    process.spawn("the sheets emulator", async { Ok(serving.await?) });
    Ok(())
}

fn open(data: &Path, quota: Option<Quota>) -> Result<Emulator> {
    Ok(Emulator::open(Options {
        data: data.join("sheets"),
        quota,
    })?)
}
