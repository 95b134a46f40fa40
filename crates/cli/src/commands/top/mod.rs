//! `formline top`: shows the stages of running processes, live. Reads their admin listeners only.

mod exposition;
mod histogram;
mod screen;
mod stage;
mod table;
#[cfg(test)]
mod tests;
mod watched_process;

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::{Result, ensure};
use formline_core::Shutdown;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

use self::{
    screen::{KeyAction, Screen},
    table::Table,
    watched_process::{WatchedProcess, scrape},
};
use crate::{admin::AdminClient, arguments::TopArgs, process, terminal};

/// Restores the terminal when dropped. After a panic the hook of `ratatui` does so first.
struct TerminalGuard;

/// How often the thread that reads keys checks whether the view has ended.
const KEY_POLL: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &TopArgs) -> Result<()> {
    let addresses = arguments.url.urls.iter().cloned();
    let processes = addresses.map(WatchedProcess::new).collect();
    let is_once = arguments.once || arguments.output.json || !io::stdout().is_terminal();
    process::block_on(async {
        let client = AdminClient::new()?;
        if is_once {
            terminal::unless_closed(once(processes, &client, arguments).await)
        } else {
            live(processes, client, arguments.interval).await
        }
    })
}

/// Scrapes twice, an interval apart, and prints one table.
async fn once(
    mut processes: Vec<WatchedProcess>,
    client: &AdminClient,
    arguments: &TopArgs,
) -> Result<()> {
    scrape(&mut processes, client).await;
    tokio::time::sleep(arguments.interval).await;
    scrape(&mut processes, client).await;
    let table = Table::of(&processes);
    let mut out = io::stdout().lock();
    if arguments.output.json {
        writeln!(out, "{}", table.json())?;
    } else {
        write!(out, "{}", terminal::plain(&table.text()))?;
    }
    let has_response = processes.iter().any(|process| process.error.is_none());
    ensure!(has_response, "no process responds; name one with --url");
    Ok(())
}

/// Draws the table until the user quits or a signal arrives.
async fn live(
    processes: Vec<WatchedProcess>,
    client: AdminClient,
    interval: Duration,
) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let mut screen = Screen::new(interval, processes.len());
    let (to_tables, mut tables) = mpsc::channel(1);
    tokio::spawn(watch(processes, client, interval, to_tables));
    let _guard = TerminalGuard;
    let mut terminal = ratatui::try_init()?;
    let (to_keys, mut keys) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || read_keys(&to_keys));
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        let (table, event) = tokio::select! {
            table = tables.recv() => (table, None),
            event = keys.recv() => match event {
                Some(event) => (None, Some(event)),
                // The terminal was closed.
                None => return Ok(()),
            },
            () = shutdown.begun() => return Ok(()),
        };
        if let Some(table) = table {
            screen.show(table);
        }
        if let Some(Event::Key(key)) = event
            && screen.press(key) == KeyAction::Quit
        {
            return Ok(());
        }
    }
}

/// Sends a table every interval, until the receiver is dropped.
async fn watch(
    mut processes: Vec<WatchedProcess>,
    client: AdminClient,
    interval: Duration,
    tables: mpsc::Sender<Table>,
) {
    let mut ticks = tokio::time::interval(interval);
    // A process that hangs delays the next scrape; missed ones are not made up for.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        scrape(&mut processes, &client).await;
        if tables.send(Table::of(&processes)).await.is_err() {
            return;
        }
    }
}

/// Sends the events of the terminal, until the receiver is dropped or the terminal is closed.
/// Blocks its thread.
fn read_keys(keys: &mpsc::Sender<Event>) {
    while !keys.is_closed() {
        let event = match event::poll(KEY_POLL) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let Ok(event) = event else { return };
        if keys.blocking_send(event).is_err() {
            return;
        }
    }
}

// === impl TerminalGuard ===

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
