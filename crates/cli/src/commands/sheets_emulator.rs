//! `formline sheets-emulator`: the server that stands in for Google Sheets, alone or inside `up`.

use std::path::Path;

use anyhow::Result;
use formline_core::Shutdown;
use formline_sheets_emulator::{Emulator, Options, Quota};
use tokio::net::TcpListener;

use crate::{
    arguments::SheetsEmulator,
    line::{self, Line, listen},
};

pub(super) fn run(arguments: &SheetsEmulator) -> Result<()> {
    line::block_on(async {
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

/// Adds the emulator to a process, without a quota: who looks at it must not slow down the sink. It stays until the sinks have written what they have in hand, which they do within
/// the same grace period.
pub(super) fn add(line: &Line, listener: TcpListener, data: &Path) -> Result<()> {
    let emulator = open(data, None)?;
    let serving = emulator.serve(listener, line.shutdown.token());
    line.part("the sheets emulator", async { Ok(serving.await?) });
    Ok(())
}

fn open(data: &Path, quota: Option<Quota>) -> Result<Emulator> {
    Ok(Emulator::open(Options {
        data: data.join("sheets"),
        quota,
    })?)
}
