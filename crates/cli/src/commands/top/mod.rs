//! `formline top`: how the stages of running processes do, live. It asks their admin listeners and nothing else.

mod exposition;
mod histogram;
mod process;
mod screen;
mod stage;
mod table;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::{Result, ensure};
use formline_core::Shutdown;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

use self::{
    process::{Process, scrape},
    screen::{Screen, Wish},
    table::Table,
};
use super::text;
use crate::{admin::Visitor, arguments::Top, line};

/// Gives the terminal back, whatever ends the view. What a panic says is for `ratatui`'s hook.
struct Borrowed;

/// How soon the thread that reads keys sees that nobody wants them any more.
const KEYS: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &Top) -> Result<()> {
    let addresses = arguments.url.urls.iter().cloned();
    let processes = addresses.map(Process::new).collect();
    let is_once = arguments.once || arguments.output.json || !io::stdout().is_terminal();
    line::block_on(async {
        let visitor = Visitor::new()?;
        if is_once {
            text::unless_closed(once(processes, &visitor, arguments).await)
        } else {
            live(processes, visitor, arguments.interval).await
        }
    })
}

/// Two looks, an interval apart, and one table.
async fn once(mut processes: Vec<Process>, visitor: &Visitor, arguments: &Top) -> Result<()> {
    scrape(&mut processes, visitor).await;
    tokio::time::sleep(arguments.interval).await;
    scrape(&mut processes, visitor).await;
    let table = Table::of(&processes);
    let mut out = io::stdout().lock();
    if arguments.output.json {
        writeln!(out, "{}", table.json())?;
    } else {
        write!(out, "{}", text::plain(&table.text()))?;
    }
    let is_answered = processes.iter().any(|process| process.away.is_none());
    ensure!(is_answered, "no process answers; name one with --url");
    Ok(())
}

async fn live(processes: Vec<Process>, visitor: Visitor, interval: Duration) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let mut screen = Screen::new(interval, processes.len());
    let (to_tables, mut tables) = mpsc::channel(1);
    tokio::spawn(watch(processes, visitor, interval, to_tables));
    let _borrowed = Borrowed;
    let mut terminal = ratatui::try_init()?;
    let (to_keys, mut keys) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || read_keys(&to_keys));
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        let (table, event) = tokio::select! {
            table = tables.recv() => (table, None),
            event = keys.recv() => match event {
                Some(event) => (None, Some(event)),
                // The terminal is gone.
                None => return Ok(()),
            },
            () = shutdown.begun() => return Ok(()),
        };
        if let Some(table) = table {
            screen.show(table);
        }
        if let Some(Event::Key(key)) = event
            && screen.press(key) == Wish::Quit
        {
            return Ok(());
        }
    }
}

/// Makes a table again and again, until nobody wants it.
async fn watch(
    mut processes: Vec<Process>,
    visitor: Visitor,
    interval: Duration,
    tables: mpsc::Sender<Table>,
) {
    let mut pace = tokio::time::interval(interval);
    // A process that hangs delays the next look and does not let them pile up.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        scrape(&mut processes, &visitor).await;
        if tables.send(Table::of(&processes)).await.is_err() {
            return;
        }
    }
}

/// Blocks its thread until nobody wants keys any more, or the terminal is gone.
fn read_keys(keys: &mpsc::Sender<Event>) {
    while !keys.is_closed() {
        let event = match event::poll(KEYS) {
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

// === impl Borrowed ===

impl Drop for Borrowed {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
